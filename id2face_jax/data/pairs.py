"""Which two photos make one training example.

Owns the slots of an epoch (how often a person is seen) and the choice of a partner:
another photo of the same person, or the photo itself (a self-pair). Everything is
a function of the slot and the generator given, so the pipeline can repeat it on any
host. Leaves reading and augmenting photos to `pipeline` and `transforms`.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

HELDOUT = "validation"  # the split that a run is watched on


@runtime_checkable
class Source(Protocol):
    """Random access to records: dicts of numpy, as `records` specifies them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @property
    def person_ids(self) -> np.ndarray:
        """(n,) int64, the person of each record."""
        ...


@dataclasses.dataclass(frozen=True)
class PairTable:
    """Photos grouped by person, and the slots of one epoch.

    Attributes:
      photos: (n,) record indices, one person after the other.
      start, count: (p,) where a person's photos begin in `photos`, and how many.
      slot_person, slot_rank: (s,) for each slot the person, and which of that
        person's slots it is.
      slots_of: (p,) slots per person, at most the cap.
    """

    photos: Int[np.ndarray, "n"]
    start: Int[np.ndarray, "p"]
    count: Int[np.ndarray, "p"]
    slot_person: Int[np.ndarray, "s"]
    slot_rank: Int[np.ndarray, "s"]
    slots_of: Int[np.ndarray, "p"]

    def __len__(self) -> int:
        return len(self.slot_person)


def make_pair_table(
    person_ids: Int[np.ndarray, "n"],
    max_photos_per_person: int,
    repeats: Int[np.ndarray, "n"] | None = None,
) -> PairTable:
    """Groups records by person and lays out the slots of one epoch.

    Args:
      person_ids: the person of each record.
      max_photos_per_person: slots a person gets in an epoch at most, so that a
        celebrity with hundreds of photos does not crowd out the rest; 0 = no cap.
      repeats: for each record, how often its person's slots come in an epoch, so that
        a small set is not drowned by a large one; None: once.

    Raises:
      ValueError: no records, or a negative cap.
    """
    if len(person_ids) == 0:
        raise ValueError("there are no records to train on; run `id2face prepare`")
    if max_photos_per_person < 0:
        raise ValueError(
            f"data.max_photos_per_person is {max_photos_per_person}; "
            "use 0 (no cap) or a positive count"
        )
    photos = np.argsort(person_ids, kind="stable")
    _, start, count = np.unique(
        person_ids[photos], return_index=True, return_counts=True
    )
    slots_of = np.minimum(count, max_photos_per_person or count.max())
    slot_person = np.repeat(np.arange(len(count)), slots_of)
    slot_rank = np.arange(len(slot_person)) - np.repeat(
        np.cumsum(slots_of) - slots_of, slots_of
    )
    if repeats is not None:
        again = repeats[photos[start]][slot_person]
        slot_person, slot_rank = (
            np.repeat(slots, again) for slots in (slot_person, slot_rank)
        )
    return PairTable(photos, start, count, slot_person, slot_rank, slots_of)


def table_of(data, source) -> PairTable:
    """The table of faces, which have person_ids and people (names), by config.data.

    data.repeats says how often people whose names begin with something come in an
    epoch. Raises ValueError for a beginning that no name has.
    """
    repeats = np.ones(len(source), np.int64)
    for start, times in data.repeats:
        found = np.array([person.startswith(start) for person in source.people])
        if not found.any():
            raise ValueError(
                f"data.repeats names people that begin with {start!r}; "
                f"{data.records} has none, the first is {source.people[0]!r}; for "
                'faces of your own use --config.data.repeats="()"'
            )
        repeats[found] = times
    return make_pair_table(source.person_ids, data.max_photos_per_person, repeats)


def choose_pair(
    table: PairTable, slot: int, rng: np.random.Generator, pair_prob: float
) -> tuple[int, int]:
    """The records (a, b) of one slot; a == b is a self-pair.

    A person with more photos than slots draws photo a at random among every
    `slots_of`-th photo, starting at the slot's rank: no photo comes twice in an epoch,
    and over epochs all of them come. The partner b is any other photo of the person,
    with probability `pair_prob`.
    """
    person = table.slot_person[slot]
    first, count = table.start[person], table.count[person]
    rank, stride = table.slot_rank[slot], table.slots_of[person]
    a = rank + stride * rng.integers((count - rank + stride - 1) // stride)
    b = a
    if count > 1 and rng.random() < pair_prob:
        b = (a + rng.integers(1, count)) % count
    return int(table.photos[first + a]), int(table.photos[first + b])
