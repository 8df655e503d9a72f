"""Who is still recognized: thresholds, verification, retrieval, cosines. Numpy only.

Owns the comparison of anonymized photos with untouched ones, for one recognizer. The
protocol (`docs/evaluation.md`):

- query = every photo once, anonymized; gallery = all photos untouched, except the one
  the query was made from;
- thresholds come from the impostor pairs (two photos of different people) of the
  untouched set alone, never from genuine scores;
- people with one photo have nothing to be matched with: they are distractors in the
  gallery and impostors for the threshold;
- every query photo counts once, however many other photos its person has.

An untouched photo as the query gives the clean figures by the same code.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from sklearn import metrics

FARS = (1e-2, 1e-3)
BINS = np.linspace(-1.0, 1.0, 2001)  # of every cosine histogram
_ROWS = 512  # queries compared at once: bounds memory to _ROWS x gallery


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a recognizer's impostor scores say.

    Attributes:
      thresholds: FAR to the cosine above which a pair is accepted; None where the set
        has too few impostor pairs for that FAR.
      num_impostors: pairs of photos of different people.
      impostors: their histogram over BINS.
    """

    thresholds: dict[float, float | None]
    num_impostors: int
    impostors: Float[np.ndarray, " bins"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How each query fared; NaN for people without another photo.

    Attributes:
      accepted: FAR to (n,) share of the person's other photos that accept the query.
      rank: (n,) place of the person's best other photo in the gallery, from 1.
      chance_rank1: (n,) chance that a photo drawn blindly is of the person.
      genuine: histogram of query-to-own-photo cosines, one query weighing one.
    """

    accepted: dict[float, Float[np.ndarray, " n"]]
    rank: Float[np.ndarray, " n"]
    chance_rank1: Float[np.ndarray, " n"]
    genuine: Float[np.ndarray, " bins"]


def _cosines(queries, gallery, rows: slice) -> np.ndarray:
    """Cosines of some queries to the whole gallery, with a tie-breaking noise.

    A method that makes all faces equal gives equal scores, and a sort would then rank
    them by file order. 1e-6 of noise, a function of the row alone, makes them chance.
    """
    scores = queries[rows].astype(np.float64) @ gallery.T.astype(np.float64)
    numbers = range(*rows.indices(len(queries)))
    noise = [np.random.default_rng(row).random(len(gallery)) for row in numbers]
    return scores + 1e-6 * np.stack(noise)


def _histogram(scores, weights=None) -> np.ndarray:
    return np.histogram(np.clip(scores, -1.0, 1.0), BINS, weights=weights)[0]


def _blocks(num: int):
    return (slice(first, min(first + _ROWS, num)) for first in range(0, num, _ROWS))


def calibrate(
    embeddings: Float[np.ndarray, "n d"], persons: Int[np.ndarray, " n"]
) -> Calibration:
    """Thresholds at each FAR of FARS from all pairs of photos of different people.

    The threshold is the smallest score that at most FAR of the impostor pairs exceed.
    """
    num = len(persons)
    same = np.bincount(np.unique(persons, return_inverse=True)[1])
    num_impostors = (num * (num - 1) - int((same * (same - 1)).sum())) // 2
    keep = int(max(FARS) * num_impostors) + 1
    top = np.empty(0)
    counts = np.zeros(len(BINS) - 1)
    for rows in _blocks(num):
        scores = _cosines(embeddings, embeddings, rows)
        later = np.arange(num)[None, :] > np.arange(num)[rows, None]
        scores = scores[later & (persons[rows, None] != persons[None, :])]
        counts += _histogram(scores)
        top = np.concatenate([top, scores])
        if len(top) > keep:
            top = np.partition(top, len(top) - keep)[-keep:]
    top = np.sort(top)[::-1]
    allowed = {far: int(far * num_impostors) for far in FARS}
    thresholds = {
        far: float(top[num_over]) if num_over else None
        for far, num_over in allowed.items()
    }
    return Calibration(thresholds, num_impostors, counts)


def compare(
    queries: Float[np.ndarray, "n d"],
    gallery: Float[np.ndarray, "n d"],
    persons: Int[np.ndarray, " n"],
    thresholds: dict[float, float | None],
) -> Comparison:
    """Compares query i with every gallery photo but the i-th, which it was made from.

    Args:
      queries: unit embeddings of the (anonymized) photos.
      gallery: unit embeddings of the untouched photos, in the same order.
      persons: the person of each photo.
      thresholds: FAR to cosine, from `calibrate`.
    """
    num = len(persons)
    accepted = {far: np.full(num, np.nan) for far in thresholds}
    rank, chance = np.full(num, np.nan), np.full(num, np.nan)
    genuine = np.zeros(len(BINS) - 1)
    for rows in _blocks(num):
        scores = _cosines(queries, gallery, rows)
        index = np.arange(num)[rows]
        own = persons[rows, None] == persons[None, :]
        own[np.arange(len(index)), index] = False
        scores[np.arange(len(index)), index] = -np.inf
        others = own.sum(axis=1)
        known = others > 0
        for far, threshold in thresholds.items():
            if threshold is not None:
                hits = (own & (scores > threshold)).sum(axis=1)
                accepted[far][index[known]] = hits[known] / others[known]
        best = np.where(own, scores, -np.inf).max(axis=1)
        ahead = (~own & (scores >= best[:, None])).sum(axis=1)
        rank[index[known]] = 1 + ahead[known]
        chance[index[known]] = others[known] / (num - 1)
        weights = (own / np.maximum(others, 1)[:, None])[own]
        genuine += _histogram(scores[own], weights)
    return Comparison(accepted, rank, chance, genuine)


def own_cosine(
    outputs: Float[np.ndarray, "n d"], sources: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, " n"]:
    """Cosine of each output to the very photo it was made from."""
    product = np.sum(outputs.astype(np.float64) * sources, axis=1)
    return np.clip(product, -1.0, 1.0)


def histogram(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " bins"]:
    """Counts of cosines over BINS."""
    return _histogram(scores).astype(np.float64)


def det_curve(
    genuine: Float[np.ndarray, " bins"], impostors: Float[np.ndarray, " bins"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """(false accept rate, share of genuine pairs missed) from two histograms."""
    centers = (BINS[:-1] + BINS[1:]) / 2
    labels = np.repeat([1, 0], len(centers))
    weights = np.concatenate([genuine, impostors])
    used = weights > 0
    false_accepts, misses, _ = metrics.det_curve(
        labels[used], np.tile(centers, 2)[used], sample_weight=weights[used]
    )
    return false_accepts, misses
