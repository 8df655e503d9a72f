"""Known answers of the re-identification figures, on made-up embeddings."""

import numpy as np
import pytest
from sklearn import metrics

from id2face_jax.evaluation.metrics import privacy


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def people():
    """Embeddings of 60 people: 40 with three photos, 20 with one; and their names."""
    rng = np.random.default_rng(0)
    persons = np.concatenate([np.repeat(np.arange(40), 3), np.arange(40, 60)])
    centers = rng.normal(size=(60, 32))
    return unit(centers[persons] + 0.5 * rng.normal(size=(140, 32))), persons


def scored_pairs(embeddings, persons):
    i, j = np.triu_indices(len(persons), 1)
    return persons[i] == persons[j], np.sum(embeddings[i] * embeddings[j], axis=1)


def test_thresholds_admit_the_stated_share_of_impostors(people):
    embeddings, persons = people
    same, scores = scored_pairs(embeddings, persons)
    calibration = privacy.calibrate(embeddings, persons)
    assert calibration.num_impostors == (~same).sum()
    assert calibration.impostors.sum() == (~same).sum()
    for far, threshold in calibration.thresholds.items():
        share = np.mean(scores[~same] > threshold)
        assert far - 1 / (~same).sum() <= share <= far


def test_thresholds_agree_with_the_roc_curve_of_scikit_learn(people):
    embeddings, persons = people
    same, scores = scored_pairs(embeddings, persons)
    false_accepts, _, thresholds = metrics.roc_curve(
        same, scores, drop_intermediate=False
    )
    ours = privacy.calibrate(embeddings, persons).thresholds[1e-2]
    last = np.flatnonzero(false_accepts <= 1e-2)[-1]
    # Ours lies between the last admissible score and the next impostor (noise 1e-6).
    assert thresholds[last + 1] - 1e-5 <= ours <= thresholds[last] + 1e-5


def test_a_far_that_the_pairs_cannot_show_has_no_threshold(people):
    embeddings, persons = people
    few = privacy.calibrate(embeddings[:12], persons[:12])
    assert few.thresholds == {1e-2: None, 1e-3: None}


def test_untouched_queries_score_the_brute_force_clean_figures(people):
    embeddings, persons = people
    calibration = privacy.calibrate(embeddings, persons)
    clean = privacy.compare(embeddings, embeddings, persons, calibration.thresholds)
    scores = embeddings @ embeddings.T
    for i in range(len(persons)):
        own = np.flatnonzero((persons == persons[i]) & (np.arange(140) != i))
        if len(own) == 0:
            assert np.isnan(clean.rank[i]) and np.isnan(clean.accepted[1e-2][i])
            continue
        expected = np.mean(scores[i, own] > calibration.thresholds[1e-2])
        assert clean.accepted[1e-2][i] == pytest.approx(expected)
        others = np.delete(scores[i], [i, *own])
        assert clean.rank[i] == 1 + np.sum(others > scores[i, own].max())
    assert clean.genuine.sum() == pytest.approx(120)


def test_unrelated_queries_score_chance(people):
    embeddings, persons = people
    rng = np.random.default_rng(1)
    calibration = privacy.calibrate(embeddings, persons)
    impostors = [
        privacy.compare(
            unit(rng.normal(size=embeddings.shape)),
            embeddings,
            persons,
            calibration.thresholds,
        )
        for _ in range(20)
    ]
    rank1 = np.nanmean([c.rank == 1 for c in impostors]) * 140 / 120
    assert rank1 == pytest.approx(np.nanmean(impostors[0].chance_rank1), abs=0.01)
    accepted = np.nanmean([c.accepted[1e-2] for c in impostors])
    assert accepted < 0.02


def test_equal_embeddings_score_chance_and_not_file_order(people):
    _, persons = people
    equal = np.full((140, 4), 0.5, np.float32)
    calibration = privacy.calibrate(equal, persons)
    result = privacy.compare(equal, equal, persons, calibration.thresholds)
    assert np.nanmean(result.accepted[1e-2]) == pytest.approx(0.01, abs=0.02)
    assert np.mean(result.rank == 1) < 0.05


def test_blocks_of_rows_do_not_change_a_number(people, monkeypatch):
    embeddings, persons = people
    calibration = privacy.calibrate(embeddings, persons)
    whole = privacy.compare(embeddings, embeddings, persons, calibration.thresholds)
    monkeypatch.setattr(privacy, "_ROWS", 33)
    assert privacy.calibrate(embeddings, persons).thresholds == calibration.thresholds
    parts = privacy.compare(embeddings, embeddings, persons, calibration.thresholds)
    np.testing.assert_array_equal(parts.rank, whole.rank)
    np.testing.assert_array_equal(parts.accepted[1e-3], whole.accepted[1e-3])


def test_det_curve_runs_from_all_missed_to_all_accepted(people):
    embeddings, persons = people
    calibration = privacy.calibrate(embeddings, persons)
    clean = privacy.compare(embeddings, embeddings, persons, calibration.thresholds)
    far, missed = privacy.det_curve(clean.genuine, calibration.impostors)
    assert np.all(np.diff(far) <= 0) and np.all(np.diff(missed) >= 0)
    at = np.flatnonzero(far <= 1e-2)[0]
    tar = np.nanmean(clean.accepted[1e-2])
    assert 1 - missed[at] == pytest.approx(tar, abs=0.02)  # a bin is 0.001 wide
