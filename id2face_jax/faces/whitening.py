"""Centring and whitening of dlib's vectors: fitted once, shipped with the package.

dlib's raw vectors share a large mean: cosines of different people average 0.84. This
module owns the map that takes it away, raw -> unit((raw - mean) @ matrix), how it is
chosen, and the thresholds that go with it. It is fitted on people a model may train on
(the `train` split of records), never on those that it is measured on.

    python -m id2face_jax.data.fit_whitening RECORDS --out FILE.npz

refits it. Candidates are compared by cross-fitting: each fifth of the people is scored
by maps fitted on the others, so no one is measured by a map that has seen them.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from id2face_jax.faces import dlib_file

FILE = pathlib.Path(__file__).parents[1] / "pretrained" / "dlib_whitening.npz"
_FOLDS = 5
_SEED = 0  # of the folds
_MAX_PHOTOS = 4  # a person in a comparison: pairs grow with the square, and LFW has a
# president with 530 photos


@dataclasses.dataclass(frozen=True)
class Whitening:
    """The fitted map and its thresholds.

    Attributes:
      mean: (d,) of the raw vectors, over people.
      matrix: (d, e), applied from the right.
      threshold, loose_threshold: cosines that 0.1 % and 1 % of pairs of different
        people exceed.
    """

    mean: Float[np.ndarray, " d"]
    matrix: Float[np.ndarray, "d e"]
    threshold: float
    loose_threshold: float

    def fingerprint(self) -> str:
        """Eight hex digits that change with the map."""
        data = self.mean.tobytes() + self.matrix.tobytes()
        return hashlib.sha256(data).hexdigest()[:8]

    @property
    def name(self) -> str:
        """Of the recognizer that this map makes of dlib's network."""
        return f"dlib-{self.fingerprint()}"

    def __call__(self, raw: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n e"]:
        """Unit vectors; the same as `dlib_resnet.whiten`, in numpy."""
        x = (raw - self.mean) @ self.matrix
        return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-6)


def load(path: pathlib.Path = FILE) -> Whitening:
    """The map in `path`, by default the one that ships with the package."""
    with np.load(path) as file:
        return Whitening(
            file["mean"],
            file["matrix"],
            float(file["threshold"]),
            float(file["loose_threshold"]),
        )


def frozen_recognizer() -> dict:
    """dlib's network and the map, for `objectives`: {"params", "mean", "matrix"}."""
    fitted = load()
    params = dlib_file.load_params()
    return {"params": params, "mean": fitted.mean, "matrix": fitted.matrix}


def save(path: pathlib.Path, whitening: Whitening) -> None:
    """Writes what `load` reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **dataclasses.asdict(whitening))


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Means and covariances of raw vectors, every person of equal weight.

    `total` is the covariance of photos, `within` that of photos about their person's
    mean, from people with several, and `between` = total - within.
    """

    mean: Float[np.ndarray, " d"]
    total: Float[np.ndarray, "d d"]
    within: Float[np.ndarray, "d d"]


def measure(
    raw: Float[np.ndarray, "n d"], person_ids: Int[np.ndarray, " n"]
) -> Statistics:
    """The statistics of raw vectors; at least two people, one with two photos."""
    raw = raw.astype(np.float64)
    _, person, counts = np.unique(person_ids, return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        raise ValueError(
            f"{len(counts)} people with at most {counts.max()} photos cannot fit a "
            "whitening; it takes several people, some of them with several photos"
        )
    weight = 1.0 / counts[person]  # a person counts once, however many photos
    mean = weight @ raw / len(counts)
    centered = raw - mean
    total = (centered * weight[:, None]).T @ centered / len(counts)
    means = np.zeros((len(counts), raw.shape[1]))
    np.add.at(means, person, raw)
    inner = raw - (means / counts[:, None])[person]
    # Unbiased, per person with several photos: divide by count - 1.
    several = counts[person] > 1
    weight = np.where(several, 1.0 / np.maximum(counts[person] - 1, 1), 0.0)
    within = (inner * weight[:, None]).T @ inner / np.sum(counts > 1)
    return Statistics(mean, total, within)


def _power(covariance: Float[np.ndarray, "d d"], exponent: float, shrink: float):
    """A power of the covariance shrunk towards its mean variance."""
    size = len(covariance)
    shrunk = (1 - shrink) * covariance
    shrunk += shrink * np.trace(covariance) / size * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    return (vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T


def _make_total(exponent: float, shrink: float) -> Callable:
    return lambda stats: _power(stats.total, exponent, shrink)


def _make_discriminant(shrink: float, strength: float) -> Callable:
    """Within-class whitening, then directions weighted by how well they tell people
    apart: (b / (b + 1)) ** (strength / 2) for a between-to-within ratio b (Wiener).
    """

    def fit(stats: Statistics) -> np.ndarray:
        inner = _power(stats.within, -0.5, shrink)
        between = inner @ (stats.total - stats.within) @ inner
        values, vectors = np.linalg.eigh((between + between.T) / 2)
        ratio = np.maximum(values, 0.0)
        return inner @ (vectors * (ratio / (ratio + 1)) ** (strength / 2)) @ vectors.T

    return fit


# Names give the shrinkage: 0 trusts the covariance, 1 is plain centering.
CANDIDATES: dict[str, Callable[[Statistics], np.ndarray]] = {
    "centered": _make_total(0.0, 0.0),
    **{f"whitened {s}": _make_total(-0.5, s) for s in (0.0, 0.1, 0.3, 0.5, 0.8)},
    **{f"half whitened {s}": _make_total(-0.25, s) for s in (0.0, 0.2)},
    **{f"within-class {s}": _make_discriminant(s, 0.0) for s in (0.1, 0.5)},
    **{f"discriminant {s}": _make_discriminant(s, 1.0) for s in (0.1, 0.5)},
}


def _pair_scores(vectors: np.ndarray, person_ids: np.ndarray):
    """Cosines of all pairs of different photos: (same person, different people)."""
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    same = person_ids[:, None] == person_ids[None]
    same = same[np.triu_indices(len(vectors), 1)]
    return cosines[same], cosines[~same]


def _rank_within(person_ids: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """For each photo, how many of the same person come before it."""
    order = np.argsort(person_ids, kind="stable")
    _, start, counts = np.unique(
        person_ids[order], return_index=True, return_counts=True
    )
    rank = np.empty(len(person_ids), np.int64)
    rank[order] = np.arange(len(person_ids)) - np.repeat(start, counts)
    return rank


def _cross_fit(raw: np.ndarray, person_ids: np.ndarray, fit: Callable):
    """Pair scores of every fold's people under the map fitted on the other folds."""
    people = np.unique(person_ids)
    fold_of = np.random.default_rng(_SEED).permutation(len(people)) % _FOLDS
    fold = fold_of[np.searchsorted(people, person_ids)]
    same, different = [], []
    is_counted = _rank_within(person_ids) < _MAX_PHOTOS
    for held_out in range(_FOLDS):
        stats = measure(raw[fold != held_out], person_ids[fold != held_out])
        inside = (fold == held_out) & is_counted
        fitted = Whitening(stats.mean, fit(stats), 0.0, 0.0)
        scores = _pair_scores(fitted(raw[inside]), person_ids[inside])
        same.append(scores[0])
        different.append(scores[1])
    return np.concatenate(same), np.concatenate(different)


def choose(
    raw: Float[np.ndarray, "n d"], person_ids: Int[np.ndarray, " n"]
) -> tuple[Whitening, list[str]]:
    """The candidate that accepts most pairs of one person at FAR 0.1 %, and a report.

    The map returned is fitted on everyone; its thresholds are those of the held-out
    pairs of the cross-fit.
    """
    lines, best = [], None
    for name, fit in CANDIDATES.items():
        same, different = _cross_fit(raw, person_ids, fit)
        strict, loose = np.quantile(different, [1 - 1e-3, 1 - 1e-2])
        accepted = float(np.mean(same > strict))
        lines.append(
            f"{name:>20}: TAR {accepted:.4f} at FAR 0.1 % (cosine {strict:.3f}), "
            f"{np.mean(same > loose):.4f} at 1 % ({loose:.3f}); different people "
            f"{different.mean():+.3f} +- {different.std():.3f}, same {same.mean():.3f}"
        )
        if best is None or accepted > best[0]:
            best = accepted, name, fit, float(strict), float(loose)
    _, name, fit, strict, loose = best
    stats = measure(raw, person_ids)
    lines.append(f"chosen: {name}")
    fitted = Whitening(
        stats.mean.astype(np.float32), fit(stats).astype(np.float32), strict, loose
    )
    return fitted, lines
