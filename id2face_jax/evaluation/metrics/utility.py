"""What survives: landmarks, pose, expression, light, and the identity asked for.

Owns the per-face utility figures, pure numpy. A figure that needs a found face is NaN
where the output's or the source's was not found; the detection rate stands beside it.
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

CROWD = 100  # identities among which the requested one must be the nearest


def landmark_error(
    sources: Float[np.ndarray, "n 5 2"],
    outputs: Float[np.ndarray, "n 5 2"],
    found: Bool[np.ndarray, " n"],
    mouth_alone: bool = False,
) -> Float[np.ndarray, " n"]:
    """Mean distance of the five points, in % of the source's eye distance.

    mouth_alone: of its two corners instead.
    """
    eyes = np.linalg.norm(sources[:, 1] - sources[:, 0], axis=-1)
    gap = np.linalg.norm(outputs - sources, axis=-1)
    gap = gap[:, 3:].mean(axis=-1) if mouth_alone else gap.mean(axis=-1)
    return np.where(found, 100 * gap / eyes, np.nan)


def pose_error(
    sources: Float[np.ndarray, "n 3"],
    outputs: Float[np.ndarray, "n 3"],
    found: Bool[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Mean absolute difference of yaw, pitch and roll, degrees."""
    gap = np.abs((outputs - sources + 180) % 360 - 180).mean(axis=-1)
    return np.where(found, gap, np.nan)


def expression_figures(
    sources: Float[np.ndarray, "n k"],
    outputs: Float[np.ndarray, "n k"],
    found: Bool[np.ndarray, " n"],
) -> dict[str, np.ndarray]:
    """agreement (same most likely expression) and overlap of the distributions.

    overlap: sum of minima, 1 when equal and 0 when disjoint; the better figure of the
    two, since many faces sit between two expressions.
    """
    same = sources.argmax(axis=-1) == outputs.argmax(axis=-1)
    overlap = np.minimum(sources, outputs).sum(axis=-1)
    return {
        "agreement": np.where(found, same, np.nan),
        "overlap": np.where(found, overlap, np.nan),
    }


def identity_control(
    outputs: Float[np.ndarray, "n d"],
    requested: Float[np.ndarray, "n d"],
    persons: Int[np.ndarray, " n"],
    seed: int,
) -> Float[np.ndarray, " n"]:
    """1 where the requested identity is the nearest of CROWD to the output, else 0.

    The others are identities that were requested for other people's faces; with fewer
    of them than CROWD - 1, all are taken.
    """
    hits = np.zeros(len(outputs))
    rows = np.arange(len(outputs))
    for row in rows:
        others = rows[persons != persons[row]]
        if len(others) >= CROWD:
            rng = np.random.default_rng([seed, row])
            others = rng.choice(others, CROWD - 1, replace=False)
        own = outputs[row] @ requested[row]
        hits[row] = own > np.max(requested[others] @ outputs[row])
    return hits


def light(
    images: UInt8[np.ndarray, "n s s 3"], landmarks: Float[np.ndarray, "n 5 2"]
) -> dict[str, np.ndarray]:
    """brightness (CIE L*, 0 to 100) and apparent skin tone (ITA, degrees) of cheeks.

    Individual typology angle (Chardon 1991): atan2(L* - 50, b*), of the median color
    of two patches below the eyes beside the nose. "Apparent": a photo's light, color
    balance and make-up are in it; it says how a face looks in the picture.
    """
    brightness, tone = [], []
    for image, points in zip(images, landmarks, strict=True):
        lab = cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2LAB)
        patches = np.concatenate([_patch(lab, points, side) for side in (0, 1)])
        lightness, _, yellow = np.median(patches, axis=0)
        brightness.append(lightness)
        tone.append(np.degrees(np.arctan2(lightness - 50, max(float(yellow), 1e-3))))
    return {"brightness": np.array(brightness), "skin_tone": np.array(tone)}


def _patch(image, points, side: int):
    """Pixels (k, 3) of one cheek: halfway between an eye and its mouth corner."""
    eyes = max(float(np.linalg.norm(points[1] - points[0])), 4.0)
    x, y = points[side] + 0.5 * (points[3 + side] - points[side])
    radius = max(1, round(0.12 * eyes))
    limit = np.array(image.shape[:2][::-1]) - radius - 1
    x, y = np.clip(np.rint([x, y]), radius, limit).astype(int)
    patch = image[y - radius : y + radius + 1, x - radius : x + radius + 1]
    return patch.reshape(-1, 3)
