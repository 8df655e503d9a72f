"""Laws of the data pipeline: the same batches for any hosts, exact resume."""

import itertools

import grain
import numpy as np
import pytest

from configs import smoke
from id2face_jax.data import pipeline

BATCH = 8


@pytest.fixture
def config():
    config = smoke.get_config()
    config.data.batch_size = BATCH
    config.data.image_size = 16
    return config


def _batches(config, num, rows=None, num_threads=0):
    """The first `num` batches of a host that holds `rows` of the global ones."""
    config.data.num_threads = num_threads
    return list(itertools.islice(pipeline.make_train_iterator(config, rows), num))


def _assert_same(one, other):
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def _epoch(config):
    """Batches that go over the ragged end of an epoch of 61 photos."""
    return 61 // BATCH + 2


@pytest.mark.parametrize(
    "hosts",
    [[[0, 1, 2, 3], [4, 5, 6, 7]], [[0, 1], [2, 3], [4, 5], [6, 7]]]
    # A mesh may take the devices of two hosts in turns.
    + [[[0, 1, 4, 5], [2, 3, 6, 7]]],
)
def test_whatever_the_hosts_they_see_the_same_global_batches(config, hosts):
    alone = _batches(config, _epoch(config))
    for rows in hosts:
        found = _batches(config, _epoch(config), rows)
        for one, other in zip(alone, found, strict=True):
            _assert_same({name: x[rows] for name, x in one.items()}, other)


def test_reading_threads_change_nothing(config):
    for one, other in zip(
        _batches(config, 4), _batches(config, 4, num_threads=2), strict=True
    ):
        _assert_same(one, other)


def test_a_batch_has_the_documented_form(config):
    (batch,) = _batches(config, 1)
    forms = {name: (value.shape, value.dtype) for name, value in batch.items()}
    image, region = ((BATCH, 16, 16, 3), np.uint8), ((BATCH, 16, 16), np.uint8)
    embedding = ((BATCH, config.model.embedding_dim), np.float32)
    assert forms == {
        "image_a": image,
        "image_b": image,
        "mask_a": region,
        "mask_b": region,
        "embedding_a": embedding,
        "embedding_b": embedding,
        "is_pair": ((BATCH,), np.float32),
    }


def test_real_pairs_and_self_pairs_are_told_apart(config):
    """Photos of one person have different embeddings; a photo has its own."""
    for batch in _batches(config, 3):
        same = np.all(batch["embedding_a"] == batch["embedding_b"], axis=1)
        np.testing.assert_array_equal(same, batch["is_pair"] == 0.0)


def test_two_views_of_one_photo_differ(config):
    config.data.pair_prob = 0.0
    (batch,) = _batches(config, 1)
    different = np.any(batch["image_a"] != batch["image_b"], axis=(1, 2, 3))
    assert np.all(different)


def test_epochs_differ_in_order_and_augmentation(config):
    config.data.batch_size = 61
    first, second = _batches(config, 2)
    assert not np.array_equal(first["embedding_a"], second["embedding_a"])
    # Each epoch shows every photo once.
    for batch in (first, second):
        assert len(np.unique(batch["embedding_a"], axis=0)) == 61


def test_another_seed_is_another_order(config):
    (one,) = _batches(config, 1)
    config.seed = 1
    (other,) = _batches(config, 1)
    assert not np.array_equal(one["embedding_a"], other["embedding_a"])


@pytest.mark.parametrize("threads", [(0, 0), (2, 2), (2, 0)])
def test_a_saved_position_goes_on_at_the_next_batch(config, threads):
    """Also in the middle of an epoch, over its end, and with other threads."""
    config.data.num_threads = threads[0]
    iterator = pipeline.make_train_iterator(config)
    for _ in range(5):
        next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(5)]
    config.data.num_threads = threads[1]
    again = pipeline.make_train_iterator(config)
    again.set_state(state)
    for batch in expected:
        _assert_same(next(again), batch)


def test_the_position_is_the_same_on_every_host_and_fits_another_number(config):
    one = pipeline.make_train_iterator(config)
    half = pipeline.make_train_iterator(config, [4, 5, 6, 7])
    for _ in range(3):
        next(one), next(half)
    assert one.get_state() == half.get_state()
    quarter = pipeline.make_train_iterator(config, [6, 7])
    quarter.set_state(half.get_state())
    rows, whole = next(quarter), next(one)
    for name in rows:
        np.testing.assert_array_equal(rows[name], whole[name][-BATCH // 4 :])


def test_the_first_batch_is_fixed(config):
    one, other = (pipeline.first_batch(config, 3) for _ in range(2))
    _assert_same(one, other)
    assert one["image_a"].shape[0] == 3


def test_the_iterator_is_grains_own(config):
    """So that its state is saved by grain's checkpoint handler."""
    iterator = pipeline.make_train_iterator(config)
    assert isinstance(iterator, grain.DatasetIterator)


def test_synthetic_people_of_the_validation_split_are_others(config):
    train = pipeline.open_source(config)
    heldout, split = pipeline.open_heldout(config)
    assert split == "validation"
    assert not set(train.person_ids) & set(heldout.person_ids)


def test_synthetic_records_are_functions_of_their_index(config):
    source = pipeline.open_source(config)
    one, other = source[7], pipeline.open_source(config)[7]
    _assert_same(one, other)
    assert one["person_id"] == source.person_ids[7]
    np.testing.assert_allclose(np.linalg.norm(one["embedding"]), 1.0, rtol=1e-6)
