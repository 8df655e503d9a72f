"""Each attack finds what was planted, and chance where nothing was."""

import numpy as np
import pytest

from id2face_jax.evaluation.metrics import attacks

PERSONS = np.repeat(np.arange(20), 6)


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def leaky():
    """Outputs of 20 people that keep a trace of who they are."""
    rng = np.random.default_rng(0)
    return unit(rng.normal(size=(20, 32))[PERSONS] + 0.8 * rng.normal(size=(120, 32)))


@pytest.fixture
def clean():
    """Outputs that keep none."""
    return unit(np.random.default_rng(1).normal(size=(120, 32)))


def test_parrot_learns_a_trace_and_nothing_else(leaky, clean):
    found, lost = (attacks.parrot(x, PERSONS, 0) for x in (leaky, clean))
    assert found["chance"] == pytest.approx(1 / 20)
    assert found["accuracy"] > 0.8
    low, high = lost["intervals"]["accuracy"]
    assert lost["accuracy"] < 0.15 and low <= 0.05 <= high


def test_parrot_says_why_it_cannot_be_made(clean):
    fields = attacks.parrot(clean, np.arange(120), 0)
    assert fields["accuracy"] is None and "accuracy" in fields["not_measured"]


def test_parrot_rows_stop_celebrities():
    persons = np.concatenate([np.zeros(50, int), np.ones(3, int), np.full(4, 2)])
    rows = attacks.parrot_rows(persons)
    assert np.bincount(persons[rows]).tolist() == [attacks.MAX_PARROT_PHOTOS, 0, 4]


def test_anonymized_gallery_links_what_is_alike(leaky, clean):
    found, lost = (attacks.anonymized_gallery(x, PERSONS, 0) for x in (leaky, clean))
    assert found["rank1"] > 0.8 and found["tar_far_1e-2"] > 0.5
    assert lost["rank1"] < 0.15 and lost["tar_far_1e-2"] < 0.05
    assert lost["rank1_chance"] == pytest.approx(5 / 119)


def test_leak_finds_a_linear_copy_and_chance_in_noise(leaky):
    rng = np.random.default_rng(2)
    copy = leaky @ rng.normal(size=(32, 40)) + 0.05 * rng.normal(size=(120, 40))
    noise = rng.normal(size=(120, 40))
    read, unread = (attacks.read_identity(x, leaky, PERSONS) for x in (copy, noise))
    found, lost = (attacks.leak(*x, leaky, PERSONS, 0) for x in (read, unread))
    assert found["top1"] > 0.8 and found["cosine"] > 0.5
    assert lost["top1"] < 0.15
    assert abs(lost["cosine"]) < 0.1


def test_a_guess_of_the_mean_face_reads_nobody(leaky):
    same = np.repeat(unit(leaky.mean(axis=0, keepdims=True)), len(leaky), axis=0)
    for predicted, low, high in ((same, -0.02, 0.02), (leaky, 0.9, 1.1)):
        fold = np.zeros(len(leaky), int)
        found = attacks.excess_cosine(predicted, fold, leaky, PERSONS)
        assert low < np.mean(found) < high


def test_share_of_the_image_is_the_quotient_of_means_with_its_interval():
    rng = np.random.default_rng(3)
    image = 0.6 + 0.1 * rng.normal(size=120)
    fields = attacks.share_of_image(0.25 * image, image, PERSONS, 0)
    assert fields["cosine_share"] == pytest.approx(0.25)
    assert fields["intervals"]["cosine_share"] == pytest.approx((0.25, 0.25))


def test_one_person_a_fold_has_nobody_else_and_says_so(leaky):
    few = leaky[:24]
    found = attacks.read_identity(few, few, PERSONS[:24])
    fields = attacks.leak(*found, few, PERSONS[:24], 0)
    assert fields["cosine"] is None and "cosine" in fields["not_measured"]
    nothing = np.full(24, np.nan)
    fields = attacks.share_of_image(nothing, nothing, PERSONS[:24], 0)
    assert fields["cosine_share"] is None


def test_share_of_nothing_is_not_measured():
    fields = attacks.share_of_image(np.zeros(120), np.zeros(120), PERSONS, 0)
    assert fields["cosine_share"] is None and "cosine_share" in fields["not_measured"]
