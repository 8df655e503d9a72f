"""From records to batches of pairs, the same ones for any number of hosts (Grain).

Owns the order of the pipeline and the iterator's state. The order is a law with a test:

    slots -> seed -> shuffle -> repeat -> random_map -> rows of this host -> batch

Everything random happens before the rows are split, at an index that all hosts share,
so 1, 2 or 4 hosts see the same global batches, row for row, augmentations included,
and a ragged last batch runs on into the next epoch. Leaves what is in an example to
`pairs` and `transforms`, and the way to the devices to `sharding.put_batch`.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import grain
import ml_collections
import numpy as np

from id2face_jax.data import pairs, records, transforms
from id2face_jax.faces import align

SYNTHETIC = "synthetic"


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
    """Made-up people for tests and the smoke config: no file, no download.

    A person is a color and an embedding; a photo moves the landmarks and the light.
    Record i is a function of i alone. `num_photos` is ragged on purpose.
    """

    size: int
    num_photos: int = 61
    num_people: int = 12
    first_person: int = 0
    dim: int = 128
    geometry: align.Geometry = align.WIDE

    def __len__(self) -> int:
        return self.num_photos

    @property
    def person_ids(self) -> np.ndarray:
        """(n,) int64, the person of each record."""
        return self.first_person + np.arange(self.num_photos) % self.num_people

    @property
    def people(self) -> tuple[str, ...]:
        """The name of each record's person."""
        return tuple(f"person {number}" for number in self.person_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        person = int(self.person_ids[index])
        identity = np.random.default_rng([1, person])
        photo = np.random.default_rng([2, self.first_person, index])
        color = identity.uniform(60, 255, 3)
        embedding = identity.normal(size=self.dim) + 0.3 * photo.normal(size=self.dim)
        landmarks = align.template(self.size, self.geometry) + photo.normal(size=(5, 2))
        y, x = np.mgrid[: self.size, : self.size] / self.size
        light = 0.3 + 0.7 * photo.uniform(0.2, 1) * np.sin(3 * x + photo.uniform(0, 3))
        face = (x - 0.5) ** 2 / 0.10 + (y - 0.55) ** 2 / 0.16 < 1
        image = np.where(face[..., None], color, 90.0) * np.abs(light)[..., None]
        for px, py in landmarks / self.size:
            image[(x - px) ** 2 + (y - py) ** 2 < 0.03**2] *= 0.3
        return {
            "image": np.clip(image, 0, 255).astype(np.uint8),
            "embedding": (embedding / np.linalg.norm(embedding)).astype(np.float32),
            "landmarks": landmarks.astype(np.float32),
            "person_id": np.int64(person),
        }


def open_source(
    config: ml_collections.ConfigDict, split: str | None = None
) -> pairs.Source:
    """The records that `config.data` names, checked against the config.

    split: None is data.split. Raises ValueError for another size of crops or of
    embeddings than the config's, and for a split that is not there.
    """
    data, dim = config.data, config.model.embedding_dim
    split = data.split if split is None else split
    if data.records == SYNTHETIC:
        first = 0 if split == "train" else 1000
        geometry = align.geometry_of(data)
        return SyntheticSource(
            data.image_size, first_person=first, dim=dim, geometry=geometry
        )
    source = records.open_records(data.records, split)
    if len(source) == 0:
        raise ValueError(f"{data.records} has no record in split {split!r}")
    found = source[0]["image"].shape[0]
    if found != data.image_size:
        raise ValueError(
            f"{data.records} holds {found} px crops, data.image_size is "
            f"{data.image_size}; set data.image_size={found} or prepare with --size"
        )
    asked, found = align.geometry_of(data), records.crop_geometry(data.records)
    if found != asked:
        raise ValueError(
            f"{data.records} holds crops of {found.units:g} units around "
            f"{found.center}; the config asks for {asked.units:g} around "
            f"{asked.center}. Set data.crop_units and data.crop_center, or prepare "
            f"with --crop-units {asked.units:g} --crop-center "
            f"{asked.center[0]:g},{asked.center[1]:g}"
        )
    found = source[0]["embedding"].shape[0]
    if found != dim:
        raise ValueError(
            f"{data.records} holds embeddings of {found} numbers, model.embedding_dim "
            f"is {dim}; set model.embedding_dim={found} or prepare with the recognizer "
            "that the config was made for"
        )
    return source


def open_heldout(config: ml_collections.ConfigDict) -> tuple[pairs.Source, str]:
    """(records, split) to watch a run on: HELDOUT if it exists, else data.split."""
    data = config.data
    if data.records == SYNTHETIC or pairs.HELDOUT in records.split_names(data.records):
        return open_source(config, pairs.HELDOUT), pairs.HELDOUT
    return open_source(config), data.split


@dataclasses.dataclass(frozen=True)
class _LoadPair(grain.transforms.RandomMap):
    source: pairs.Source
    table: pairs.PairTable
    pair_prob: float
    flip_prob: float
    color_jitter: float

    def random_map(self, slot: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        index_a, index_b = pairs.choose_pair(self.table, slot, rng, self.pair_prob)
        a = self.source[index_a]
        b = a if index_a == index_b else self.source[index_b]
        example = {"is_pair": np.asarray(index_a != index_b, np.float32)}
        for side, record in (("a", a), ("b", b)):
            image, mask = transforms.random_view(
                rng,
                record["image"],
                record["landmarks"],
                self.flip_prob,
                self.color_jitter,
            )
            example[f"image_{side}"], example[f"mask_{side}"] = image, mask
            example[f"embedding_{side}"] = record["embedding"]
        return example


def make_examples(
    config: ml_collections.ConfigDict, source: pairs.Source | None = None
):
    """The endless, shuffled sequence of examples that all hosts share (lazy).

    Element i is the same wherever it is asked for: a dict with image_a, image_b
    uint8 (S, S, 3); mask_a, mask_b uint8 (S, S); embedding_a, embedding_b float32
    (D,); is_pair float32 scalar.
    """
    data = config.data
    source = open_source(config) if source is None else source
    table = pairs.table_of(data, source)
    load = _LoadPair(source, table, data.pair_prob, data.flip_prob, data.color_jitter)
    slots = grain.MapDataset.range(len(table)).seed(config.seed)
    return slots.shuffle().repeat().random_map(load)


@dataclasses.dataclass(frozen=True)
class _HostRows:
    """The examples of one host: its own rows of every global batch, in order."""

    examples: grain.MapDataset
    global_batch: int
    rows: Sequence[int]

    def __len__(self) -> int:
        return sys.maxsize // self.global_batch * len(self.rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        batch, row = divmod(index, len(self.rows))
        return self.examples[batch * self.global_batch + self.rows[row]]


def make_train_iterator(
    config: ml_collections.ConfigDict,
    rows: Sequence[int] | np.ndarray | None = None,
    source: pairs.Source | None = None,
) -> grain.DatasetIterator:
    """This host's endless iterator of local batches; its state can be saved.

    Args:
      config: reads `seed` and `data`; data.num_threads reading threads, 0 = none.
      rows: of the global batch, those that this host's devices hold, ascending: of
        `sharding.local_rows`. The noise that the step draws per row then falls on the
        same example whatever the hosts. None is all.
      source: records; None opens those that the config names.

    Returns:
      An iterator over dicts of stacked examples (see `make_examples`), one a row. Its
      state is the number of batches given, the same on every host; `set_state` goes on
      at the next batch exactly, whatever the number of hosts and threads.
    """
    data = config.data
    rows = range(data.batch_size) if rows is None else [int(row) for row in rows]
    ours = _HostRows(make_examples(config, source), data.batch_size, rows)
    # Batches are formed before the iterator, so that its position counts batches.
    batches = grain.MapDataset.source(ours).batch(len(rows), drop_remainder=True)
    # Two batches ahead: enough to hide reading behind a step, and little memory.
    options = grain.ReadOptions(
        num_threads=data.num_threads,
        prefetch_buffer_size=2 if data.num_threads else 0,
    )
    return iter(batches.to_iter_dataset(options))


def first_batch(
    config: ml_collections.ConfigDict, num: int, source: pairs.Source | None = None
) -> dict[str, np.ndarray]:
    """The first `num` examples, stacked: the fixed batch that sample grids show."""
    examples = make_examples(config, source)
    rows = [examples[i] for i in range(num)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
