"""Laws of the pairs that one epoch trains on."""

import collections
import types

import numpy as np
import pytest

from id2face_jax.data import pairs

# Person 7 has five photos, person 3 has three, persons 4 and 9 have one each; the
# records of a person do not lie side by side.
PERSON_IDS = np.array([7, 3, 7, 4, 3, 7, 9, 3, 7, 7])


def _rng(seed=0):
    return np.random.default_rng(seed)


def _epoch(table, rng, pair_prob):
    return [
        pairs.choose_pair(table, slot, rng, pair_prob) for slot in range(len(table))
    ]


def test_an_epoch_without_a_cap_shows_each_photo_once():
    table = pairs.make_pair_table(PERSON_IDS, 0)
    first = [a for a, _ in _epoch(table, _rng(), 0.5)]
    assert sorted(first) == list(range(10))


def test_the_cap_limits_a_person_and_nobody_else():
    table = pairs.make_pair_table(PERSON_IDS, 2)
    first = [a for a, _ in _epoch(table, _rng(), 0.5)]
    assert len(set(first)) == len(first)
    seen = collections.Counter(PERSON_IDS[first])
    assert seen == {7: 2, 3: 2, 4: 1, 9: 1}


def test_over_many_epochs_a_capped_person_shows_all_photos():
    table = pairs.make_pair_table(PERSON_IDS, 2)
    rng = _rng()
    seen = {a for _ in range(50) for a, _ in _epoch(table, rng, 0.5)}
    assert seen == set(range(10))


def test_partners_are_of_the_same_person():
    table = pairs.make_pair_table(PERSON_IDS, 0)
    rng = _rng()
    for _ in range(20):
        for a, b in _epoch(table, rng, 0.7):
            assert PERSON_IDS[a] == PERSON_IDS[b]


def test_with_certainty_a_partner_is_another_photo_where_there_is_one():
    table = pairs.make_pair_table(PERSON_IDS, 0)
    for a, b in _epoch(table, _rng(), 1.0):
        assert (a == b) == (PERSON_IDS[a] in (4, 9))


def test_with_no_chance_all_pairs_are_self_pairs():
    table = pairs.make_pair_table(PERSON_IDS, 0)
    assert all(a == b for a, b in _epoch(table, _rng(), 0.0))


def test_every_other_photo_is_an_equally_likely_partner():
    table = pairs.make_pair_table(np.zeros(4, np.int64), 0)
    rng = _rng()
    partners = collections.Counter(
        pairs.choose_pair(table, 0, rng, 1.0)[1] for _ in range(3000)
    )
    assert set(partners) == {1, 2, 3}
    # The sd of each count is 26.
    assert all(abs(count - 1000) < 130 for count in partners.values())


def test_the_share_of_real_pairs_is_the_one_asked_for():
    table = pairs.make_pair_table(np.zeros(6, np.int64), 0)
    rng = _rng()
    real = [a != b for _ in range(500) for a, b in _epoch(table, rng, 0.7)]
    np.testing.assert_allclose(np.mean(real), 0.7, atol=0.04)  # sd 0.008


def test_a_choice_is_a_function_of_slot_and_generator():
    table = pairs.make_pair_table(PERSON_IDS, 2)
    again = pairs.make_pair_table(PERSON_IDS.copy(), 2)
    assert _epoch(table, _rng(3), 0.5) == _epoch(again, _rng(3), 0.5)


def test_no_records_are_refused():
    with pytest.raises(ValueError, match="run `id2face prepare`"):
        pairs.make_pair_table(np.zeros(0, np.int64), 0)


def test_a_negative_cap_is_refused():
    with pytest.raises(ValueError, match="max_photos_per_person is -1; use 0"):
        pairs.make_pair_table(PERSON_IDS, -1)


def test_a_set_that_is_not_there_is_named_with_the_way_out():
    class Faces:
        person_ids, people = PERSON_IDS, tuple(f"ann {i}" for i in PERSON_IDS)

        def __len__(self):
            return len(PERSON_IDS)

    data = types.SimpleNamespace(
        repeats=(("bob ", 2),), records="runs/mine", max_photos_per_person=0
    )
    with pytest.raises(ValueError, match=r"'bob '.*'ann .*--config.data.repeats"):
        pairs.table_of(data, Faces())
    data.repeats = ()
    slots = pairs.table_of(data, Faces()).slot_person
    assert len(slots) == len(PERSON_IDS)


def test_a_small_set_comes_more_often_when_its_slots_repeat():
    """Every photo of the person equally often, the other people once."""
    person = PERSON_IDS[0]
    repeats = np.where(PERSON_IDS == person, 3, 1)
    table = pairs.make_pair_table(PERSON_IDS, 0, repeats)
    seen = collections.Counter(a for a, _ in _epoch(table, _rng(), 0.0))
    assert [seen[i] for i in range(len(PERSON_IDS))] == list(repeats)
