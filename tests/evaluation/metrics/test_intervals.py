"""Laws of the intervals over people."""

import numpy as np
import pytest

from id2face_jax.evaluation.metrics import intervals


def test_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    persons = np.repeat(np.arange(60), 3)
    held = []
    for trial in range(100):
        offsets = rng.normal(size=60)[persons]  # photos of a person are alike
        figure = intervals.mean_over_people(
            offsets + 0.1 * rng.normal(size=180), persons, trial
        )
        held.append(figure.interval[0] <= 0 <= figure.interval[1])
    assert np.mean(held) > 0.84  # 93 % expected, less four standard errors


def test_photos_of_one_person_do_not_narrow_the_interval():
    values = np.random.default_rng(0).normal(size=50)
    once = intervals.mean_over_people(values, np.arange(50), 0)
    copied = intervals.mean_over_people(
        np.repeat(values, 10), np.repeat(np.arange(50), 10), 0
    )
    assert copied.interval == pytest.approx(once.interval)
    assert (copied.num, copied.num_people) == (500, 50)


def test_nothing_seen_is_not_nothing_possible():
    figure = intervals.mean_over_people(
        np.zeros(90), np.repeat(np.arange(30), 3), 0, is_share=True
    )
    assert figure.value == 0 and figure.interval[0] == 0
    assert figure.interval[1] == pytest.approx(1 - 0.025 ** (1 / 30))  # exact binomial


def test_unknown_values_are_left_out_and_counted_out():
    values = np.array([1.0, np.nan, 0.0, np.nan])
    figure = intervals.mean_over_people(values, np.array([0, 0, 1, 2]), 0)
    assert (figure.value, figure.num, figure.num_people) == (0.5, 2, 2)
    assert intervals.mean_over_people(values * np.nan, np.arange(4), 0).value is None


def test_set_statistic_is_centred_on_the_measured_value():
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    figure = intervals.of_set(
        lambda rows: len(np.unique(rows)) + 0 * x[0], np.arange(200), 0
    )
    # Resamples hold 63 % of the rows; the interval must not drift there.
    assert figure.value == 200 and figure.interval[0] < 200 < figure.interval[1]


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=50)
    first, second = (
        intervals.mean_over_people(values, np.arange(50) // 2, 7) for _ in range(2)
    )
    assert first == second


def test_resamples_without_a_statistic_do_not_hide_the_others():
    def statistic(rows):
        return float(len(rows)) if len(np.unique(rows)) > 1 else float("nan")

    figure = intervals.of_set(statistic, np.arange(2), 0)
    assert figure.value == 2 and figure.interval == (2, 2)
