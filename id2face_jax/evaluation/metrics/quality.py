"""How good the pictures look: set distances, and damage outside of the face.

Owns the quality figures. There is no Inception network here, so the Fréchet distance
names its features (perceptual.VGG_FEATURES) and cannot be compared with published FID.
The reference of both set distances is the same people's untouched photos.
"""

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from skimage import metrics as image_metrics
from sklearn.metrics import pairwise

from id2face_jax.evaluation.cache import Stage
from id2face_jax.evaluation.context import Context, Outputs
from id2face_jax.evaluation.metrics import utility
from id2face_jax.evaluation.models import perceptual
from id2face_jax.evaluation.people import People

PSNR_CAP = 100.0  # dB; stands for "not one pixel changed"
_OUTSIDE = 0.5  # of the mask: the soft rim counts as surroundings, where seams show
# Set distances look at this many faces at most: VGG16 is the slowest network, and the
# kernel distance holds their squared number in memory.
MAX_SET_FACES = 500


def outside_figures(
    sources: UInt8[np.ndarray, "n s s 3"],
    outputs: UInt8[np.ndarray, "n s s 3"],
    masks: Float[np.ndarray, "n s s"],
) -> dict[str, np.ndarray]:
    """Damage where the identity mask is below one half, a number a face.

    Returns psnr (dB, at most PSNR_CAP), ssim, lpips (of the source with the output's
    surroundings put in), each (n,).
    """
    outside = masks < _OUTSIDE
    composed = np.where(outside[..., None], outputs, sources)
    psnr, ssim = [], []
    for source, output, where in zip(sources, outputs, outside, strict=True):
        if np.array_equal(source[where], output[where]):
            psnr.append(PSNR_CAP)
        else:
            value = image_metrics.peak_signal_noise_ratio(
                source[where], output[where], data_range=255
            )
            psnr.append(min(value, PSNR_CAP))
        _, similarity = image_metrics.structural_similarity(
            source, output, channel_axis=2, data_range=255, full=True
        )
        ssim.append(similarity[where].mean())
    return {
        "psnr": np.array(psnr),
        "ssim": np.array(ssim),
        "lpips": perceptual.lpips(sources, composed),
    }


def change_inside(
    sources: UInt8[np.ndarray, "n s s 3"],
    outputs: UInt8[np.ndarray, "n s s 3"],
    masks: Float[np.ndarray, "n s s"],
) -> Float[np.ndarray, " n"]:
    """Mean absolute change where the mask is 1, in gray levels of 255."""
    inside = masks > 0.99
    gap = np.abs(outputs.astype(np.float32) - sources).mean(axis=-1)
    return (gap * inside).sum(axis=(1, 2)) / np.maximum(inside.sum(axis=(1, 2)), 1)


def seam_score(
    sources: UInt8[np.ndarray, "n s s 3"],
    outputs: UInt8[np.ndarray, "n s s 3"],
    regions: Float[np.ndarray, "n s s"],
) -> Float[np.ndarray, " n"]:
    """Edges along the border of the changed region, over those of the source there.

    1 is a border as busy as the untouched photo; more shows a seam, less a smear.
    regions: what the method changes, in [0, 1]; the border is where it crosses 1/2.
    """
    scores = []
    kernel = np.ones((5, 5), np.uint8)
    for source, output, region in zip(sources, outputs, regions, strict=True):
        inside = (region >= _OUTSIDE).astype(np.uint8)
        border = cv2.dilate(inside, kernel) > cv2.erode(inside, kernel)
        edges = [_edges(image)[border].mean() for image in (output, source)]
        scores.append(edges[0] / max(edges[1], 1e-3))
    return np.array(scores)


def _edges(image):
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))


def set_rows(people: People) -> Int[np.ndarray, " m"]:
    """The faces that set distances look at: all, or MAX_SET_FACES drawn by the seed."""
    rows = np.arange(len(people))
    if len(rows) <= MAX_SET_FACES:
        return rows
    rng = np.random.default_rng(people.seed)
    return np.sort(rng.choice(rows, MAX_SET_FACES, replace=False))


def of_faces(context: Context, outputs: Outputs) -> Stage:
    """Stage with psnr, ssim, lpips, change, seam, brightness, skin_tone.

    All but the last two compare with the untouched photo.
    """
    people = context.people

    def look(rows, crops, chunk):
        del chunk
        batch = people.batch(rows)
        regions = batch.masks
        if outputs.method.boxed:
            regions = np.zeros_like(batch.masks)
            regions[:, *people.face_box] = 1.0
        return {
            **outside_figures(batch.images, crops, batch.masks),
            **utility.light(crops, batch.landmarks),
            "change": change_inside(batch.images, crops, batch.masks),
            "seam": seam_score(batch.images, crops, regions),
        }

    return context.measure(outputs, "quality", "quality", look)


class FrechetDistance:
    """Fréchet distance of feature sets to one fixed reference, in float64.

    Dowson and Landau 1982: |m - m_r|^2 + tr(C + C_r - 2 (C_r^1/2 C C_r^1/2)^1/2).
    """

    def __init__(self, reference: Float[np.ndarray, "n d"]):
        self._mean, self._cov = _moments(reference)
        values, vectors = np.linalg.eigh(self._cov)
        self._root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

    def __call__(self, features: Float[np.ndarray, "m d"]) -> float:
        mean, cov = _moments(features)
        cross = np.linalg.eigvalsh(self._root @ cov @ self._root)
        gap = np.sum((mean - self._mean) ** 2)
        spread = np.trace(cov) + np.trace(self._cov)
        distance = gap + spread - 2 * np.sqrt(np.maximum(cross, 0)).sum()
        return max(float(distance), 0.0)  # rounding: equal sets give -1e-12


def _moments(features):
    features = features.astype(np.float64)
    return features.mean(axis=0), np.cov(features, rowvar=False)


class KernelDistance:
    """Kernel distance of two feature sets: unbiased MMD^2, cubic polynomial kernel.

    Binkowski et al. 2018 (KID), on our features and without their random blocks.
    Rows of both sets belong together, so a resample of people takes both.
    """

    def __init__(
        self, features: Float[np.ndarray, "n d"], reference: Float[np.ndarray, "n d"]
    ):
        x, y = features.astype(np.float64), reference.astype(np.float64)
        self._xx = pairwise.polynomial_kernel(x, degree=3, coef0=1)
        self._yy = pairwise.polynomial_kernel(y, degree=3, coef0=1)
        self._xy = pairwise.polynomial_kernel(x, y, degree=3, coef0=1)

    def __call__(self, rows: Int[np.ndarray, " m"]) -> float:
        # A photo and itself, also when it was drawn twice, says nothing of the set.
        counts = np.bincount(rows, minlength=len(self._xx)).astype(np.float64)
        pairs = np.outer(counts, counts)
        np.fill_diagonal(pairs, 0.0)
        total = pairs.sum()
        if total == 0:
            return float("nan")  # one photo, perhaps several times
        within = (pairs * (self._xx + self._yy)).sum() / total
        return float(within - 2 * (pairs * self._xy).sum() / total)
