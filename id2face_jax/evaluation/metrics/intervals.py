"""A figure with its 95 % interval, by resampling people.

Owns the only place where an interval is made. Photos of one person are not
independent, so people are drawn with replacement and bring all of their photos along
(cluster bootstrap). Two departures from the plain percentile bootstrap, both so that
an interval never flatters:

- 0 or 100 % of everything observed gives the bootstrap nothing to vary; the interval
  is then Clopper and Pearson's exact one, with people as the number of trials;
- statistics of a whole set (Fréchet distance, Wasserstein distance) are biased under
  resampling, because drawn photos repeat; their percentiles are shifted so that the
  mean of the resamples falls on the measured value.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Shaped
from scipy import stats

LEVEL = 0.95
NUM_RESAMPLES = 1000
NUM_SET_RESAMPLES = 100  # a set statistic costs a second, not a microsecond


@dataclasses.dataclass(frozen=True)
class Figure:
    """A measured number, its 95 % interval and what it rests on.

    Attributes:
      value: None when nothing could be measured.
      interval: (low, high); None where there is no value or only one person.
      num: photos (or comparisons) behind the value.
      num_people: people behind it.
    """

    value: float | None
    interval: tuple[float, float] | None
    num: int
    num_people: int


NOTHING = Figure(None, None, 0, 0)


def mean_over_people(
    values: Shaped[np.ndarray, " n"],
    persons: Int[np.ndarray, " n"],
    seed: int,
    is_share: bool = False,
) -> Figure:
    """The mean of `values` with an interval over people; NaN values are left out.

    Args:
      values: one number (or truth) a photo.
      persons: the person of each photo.
      seed: of the resampling.
      is_share: values are shares in [0, 1], so 0 and 100 % get the exact interval.
    """
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    if not known.any():
        return NOTHING
    _, person = np.unique(persons[known], return_inverse=True)
    sums = np.bincount(person, values[known])
    counts = np.bincount(person).astype(np.float64)
    value = float(sums.sum() / counts.sum())
    interval = _mean_interval(sums, counts, seed, is_share)
    return Figure(value, interval, int(known.sum()), len(sums))


def _mean_interval(sums, counts, seed, is_share):
    num_people, means = len(sums), sums / counts
    if num_people < 2:
        return None
    if np.ptp(means) == 0:
        if not is_share or means[0] not in (0.0, 1.0):
            return float(means[0]), float(means[0])
        exact = stats.binomtest(int(means[0]) * num_people, num_people)
        bounds = exact.proportion_ci(LEVEL, method="exact")
        return float(bounds.low), float(bounds.high)

    def ratio(sums, counts, axis):
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    result = stats.bootstrap(
        (sums, counts),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=100,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    bounds = result.confidence_interval
    return float(bounds.low), float(bounds.high)


def of_set(
    statistic: Callable[[Int[np.ndarray, " m"]], float],
    persons: Int[np.ndarray, " n"],
    seed: int,
) -> Figure:
    """A statistic of a whole set of photos, with its interval over people.

    Args:
      statistic: from row numbers (with repeats, when resampled) to the number.
      persons: the person of each row.
      seed: of the resampling.
    """
    value = float(statistic(np.arange(len(persons))))
    _, person, counts = np.unique(persons, return_inverse=True, return_counts=True)
    num_people = len(counts)
    if num_people < 2 or np.isnan(value):
        none = None if np.isnan(value) else value
        return Figure(none, None, len(persons), num_people)
    rows = np.split(np.argsort(person, kind="stable"), np.cumsum(counts)[:-1])
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(NUM_SET_RESAMPLES):
        people = rng.integers(0, num_people, num_people)
        drawn.append(statistic(np.concatenate([rows[p] for p in people])))
    # Of few people a resample may be one photo again and again, and have no statistic.
    known = np.array(drawn)[~np.isnan(drawn)]
    if not len(known):
        return Figure(value, None, len(persons), num_people)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(known, (tail, 100 - tail)) + value - np.mean(known)
    return Figure(value, (float(low), float(high)), len(persons), num_people)
