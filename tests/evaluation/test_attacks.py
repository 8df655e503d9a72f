"""Each attack finds what was planted, and chance where nothing was."""

import numpy as np
import pytest

from id2face_jax.evaluation import attacks

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
    found = attacks.leak(copy.astype(np.float32), leaky, PERSONS, 0)
    noise = rng.normal(size=(120, 40)).astype(np.float32)
    lost = attacks.leak(noise, leaky, PERSONS, 0)
    assert found["top1"] > 0.8 and found["cosine"] > 0.5
    assert lost["top1"] < 0.15
    assert lost["cosine"] < lost["cosine_chance"] + 0.1
