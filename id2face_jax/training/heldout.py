"""Watching a run on faces it does not train on: fixed faces, fixed noise.

Owns which faces those are, and their way to the devices. What is computed of them is
in `steps`; when, in `train`.
"""

import dataclasses

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh
from jaxtyping import UInt8

from id2face_jax.data import batches, pairs
from id2face_jax.training import metrics, programs, sharding
from id2face_jax.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Heldout:
    """Fixed examples, on the devices.

    Attributes:
      split: they are of; without a validation split, the one that trains.
      faces: programs.GRID_ROWS examples for the grid.
      batches: (batch, index of its noise) for the loss; none of trained faces.
    """

    split: str
    faces: dict
    batches: list[tuple[dict, jax.Array]]


def load_heldout(config: ml_collections.ConfigDict, mesh: Mesh) -> Heldout:
    """The first examples of the validation split, the same ones at every start."""
    source, split = batches.open_heldout(config)
    whole, rows = sharding.replicated(mesh), sharding.batch_sharding(mesh)
    faces = batches.first_batch(config, programs.GRID_ROWS, source)
    is_heldout = split == pairs.HELDOUT
    num_batches = config.train.num_validation_batches if is_heldout else 0
    ours = sharding.local_rows(rows, config.data.batch_size)
    examples = batches.make_iterator(config, source, ours, rows)
    noisy = [
        (
            sharding.put_batch(next(examples), rows),
            jax.device_put(np.int32(index), whole),
        )
        for index in range(num_batches)
    ]
    return Heldout(split, sharding.put_batch(faces, whole), noisy)


def evaluate(
    compiled: programs.Programs, heldout: Heldout, state: TrainState
) -> tuple[dict[str, float], UInt8[np.ndarray, "n k s s 3"]]:
    """(mean terms of the objective or {}, cells of the grid), of the EMA weights."""
    rows = jax.device_get(
        [compiled.evaluate(state, *batch) for batch in heldout.batches]
    )
    return metrics.means(rows), np.asarray(compiled.grid(state, heldout.faces))
