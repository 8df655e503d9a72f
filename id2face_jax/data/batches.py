"""Where a run's batches come from: records through Grain, or a packed folder.

Owns the choice, by what config.data.records names; both give the same batches in form.
Grain and TFDS are imported for records alone.
"""

import jax
import ml_collections
import numpy as np

from id2face_jax.data import packed, pairs
from id2face_jax.faces import align, whitening
from id2face_jax.models.recognizers.crops import CropRecognizer

_FACES = 512  # enough for a mean of embeddings


def open_train(config: ml_collections.ConfigDict):
    """The faces of config.data.split, checked against the config; see `pipeline`."""
    if not packed.is_packed(config.data.records):
        from id2face_jax.data import pipeline

        return pipeline.open_source(config)
    return _open_packed(config, config.data.split)


def open_heldout(config: ml_collections.ConfigDict):
    """(faces, split) to watch a run on: HELDOUT if it exists, else data.split."""
    if not packed.is_packed(config.data.records):
        from id2face_jax.data import pipeline

        return pipeline.open_heldout(config)
    return _open_packed(config, pairs.HELDOUT), pairs.HELDOUT


def _open_packed(config: ml_collections.ConfigDict, split: str) -> packed.Packed:
    data, source = config.data, packed.open_packed(config.data.records, split)
    found = (source.images.shape[1], source.geometry, source.embeddings.shape[1])
    asked = (data.image_size, align.geometry_of(data), config.model.embedding_dim)
    if found != asked:
        raise ValueError(
            f"{data.records} holds (size, geometry, embedding) {found}; the config "
            f"asks for {asked}. Pack other records, or change the config's fields"
        )
    return source


def make_iterator(
    config: ml_collections.ConfigDict,
    source,
    ours: np.ndarray | None = None,
    layout: jax.sharding.Sharding | None = None,
):
    """This process's endless iterator of batches, whose state can be saved.

    ours: rows of the global batch that this process's devices hold; None: all.
    layout: how a packed folder's batches are laid out on the devices.
    """
    if not isinstance(source, packed.Packed):
        from id2face_jax.data import pipeline

        return pipeline.make_train_iterator(config, ours, source)
    if jax.process_count() > 1:
        raise ValueError(
            f"{config.data.records} is packed, which is for one process; use records "
            f"with {jax.process_count()} processes"
        )
    table = pairs.table_of(config.data, source)
    return packed.DeviceBatches(config, source, table, layout)


def first_batch(config: ml_collections.ConfigDict, num: int, source) -> dict:
    """The first `num` examples, stacked: the fixed batch that sample grids show."""
    if not isinstance(source, packed.Packed):
        from id2face_jax.data import pipeline

        return pipeline.first_batch(config, num, source)
    changed = ml_collections.ConfigDict(config).copy_and_resolve_references()
    changed.data.batch_size, changed.data.repeats = num, ()
    return jax.device_get(next(make_iterator(changed, source)))


def load_recognizer(config: ml_collections.ConfigDict) -> dict:
    """The frozen recognizer of the identity loss; see `whitening.frozen_recognizer`."""
    if packed.is_packed(config.data.records):
        return packed.load_recognizer(config.data.records)
    return whitening.frozen_recognizer()


def center(recognizer: CropRecognizer, params: dict, source) -> dict:
    """{"params", "mean"}: `params`, and the mean of its vectors over faces of `source`.

    Over at most 512 faces, spread evenly, so that every start finds the same.
    """
    rows = np.linspace(0, len(source) - 1, min(_FACES, len(source))).round().astype(int)
    is_packed = isinstance(source, packed.Packed)
    images = [
        source.images[i] if is_packed else source[i]["image"] for i in rows.tolist()
    ]
    crops = np.stack(images).astype(np.float32) / 127.5 - 1.0
    raw = jax.jit(recognizer.raw)
    parts = [raw(params, crops[i : i + 64]) for i in range(0, len(crops), 64)]
    return {"params": params, "mean": np.concatenate(parts).mean(axis=0)}
