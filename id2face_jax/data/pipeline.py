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
from typing import Any, Protocol

import grain
import ml_collections
import numpy as np

from id2face_jax.data import pairs, records, transforms
from id2face_jax.faces import align

SYNTHETIC = "synthetic"


class Source(Protocol):
    """Random access to records: dicts of numpy, as `records` specifies them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
    """Made-up people for tests and the smoke config: no file, no download.

    A person is a colour and an embedding; a photo moves the landmarks and the light.
    Record i is a function of i alone. `num_photos` is ragged on purpose.
    """

    size: int
    num_photos: int = 61
    num_people: int = 12
    dim: int = 128

    def __len__(self) -> int:
        return self.num_photos

    def __getitem__(self, index: int) -> dict[str, Any]:
        person = index % self.num_people
        identity = np.random.default_rng([1, person])
        photo = np.random.default_rng([2, index])
        color = identity.uniform(60, 255, 3)
        embedding = identity.normal(size=self.dim) + 0.3 * photo.normal(size=self.dim)
        landmarks = align.template(self.size) + photo.normal(size=(5, 2))
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


def open_source(config: ml_collections.ConfigDict) -> Source:
    """The records that `config.data` names, checked against the config's image size."""
    data = config.data
    if data.records == SYNTHETIC:
        return SyntheticSource(data.image_size)
    source = records.open_records(data.records, data.split)
    found = source[0]["image"].shape[0] if len(source) else data.image_size
    if found != data.image_size:
        raise ValueError(
            f"{data.records} holds {found} px crops, data.image_size is "
            f"{data.image_size}; set data.image_size={found} or prepare with --size"
        )
    return source


@dataclasses.dataclass(frozen=True)
class _LoadPair(grain.transforms.RandomMap):
    source: Source
    table: pairs.PairTable
    pair_prob: float
    flip_prob: float
    color_jitter: float

    def random_map(self, slot: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        index_a, index_b = pairs.choose_pair(self.table, slot, rng, self.pair_prob)
        a = self.source[index_a]
        b = a if index_a == index_b else self.source[index_b]
        example = {"is_pair": np.float32(index_a != index_b)}
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


def make_examples(config: ml_collections.ConfigDict, source: Source | None = None):
    """The endless, shuffled sequence of examples that all hosts share (lazy).

    Element i is the same wherever it is asked for: a dict with image_a, image_b
    uint8 (S, S, 3); mask_a, mask_b uint8 (S, S); embedding_a, embedding_b float32
    (D,); is_pair float32 scalar.
    """
    data = config.data
    source = open_source(config) if source is None else source
    table = pairs.make_pair_table(person_ids(source), data.max_photos_per_person)
    load = _LoadPair(
        source, table, data.pair_prob, data.flip_prob, data.color_jitter
    )
    slots = grain.MapDataset.range(len(table)).seed(config.seed)
    return slots.shuffle().repeat().random_map(load)


@dataclasses.dataclass(frozen=True)
class _HostRows:
    """The examples of one host: its own rows of every global batch, in order.

    Blocks rather than strides: host rows put end to end are then the global batch
    itself, and the noise that the step draws per row falls on the same example
    whatever the number of hosts.
    """

    examples: Sequence[dict[str, np.ndarray]]
    global_batch: int
    process_index: int
    process_count: int

    def __len__(self) -> int:
        return sys.maxsize // self.process_count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        local_batch = self.global_batch // self.process_count
        batch, row = divmod(index, local_batch)
        first = batch * self.global_batch + self.process_index * local_batch
        return self.examples[first + row]


def make_train_iterator(
    config: ml_collections.ConfigDict,
    process_index: int,
    process_count: int,
    source: Source | None = None,
) -> grain.DatasetIterator:
    """This host's endless iterator of local batches; its state can be saved.

    Args:
      config: reads `seed` and `data`; data.num_threads reading threads, 0 = none.
      process_index, process_count: which rows of the global batch are ours.
      source: records; None opens those that the config names.

    Returns:
      An iterator over dicts of stacked examples (see `make_examples`) with
      data.batch_size / process_count rows. `get_state` / `set_state`, and
      `grain.checkpoint`, continue it at the next batch exactly, for the same number
      of hosts; the number of threads may change.

    Raises:
      ValueError: the batch does not divide among the hosts.
    """
    data = config.data
    if data.batch_size % process_count:
        raise ValueError(
            f"data.batch_size is {data.batch_size}, not divisible by {process_count} "
            f"processes; use {data.batch_size // process_count * process_count} or "
            f"{-(-data.batch_size // process_count) * process_count}"
        )
    local_batch = data.batch_size // process_count
    examples = make_examples(config, source)
    rows = _HostRows(examples, data.batch_size, process_index, process_count)
    # Two batches ahead: enough to hide reading behind a step, and little memory.
    options = grain.ReadOptions(
        num_threads=data.num_threads,
        prefetch_buffer_size=2 * local_batch if data.num_threads else 0,
    )
    dataset = grain.MapDataset.source(rows).to_iter_dataset(options)
    return iter(dataset.batch(local_batch, drop_remainder=True))


def first_batch(
    config: ml_collections.ConfigDict, num: int, source: Source | None = None
) -> dict[str, np.ndarray]:
    """The first `num` examples, stacked: the fixed batch that sample grids show."""
    examples = make_examples(config, source)
    rows = [examples[i] for i in range(num)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
