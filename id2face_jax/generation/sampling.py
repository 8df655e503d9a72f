"""From records and weights to new faces: loading, batching, the labelled grid.

Owns the way around the pure generator: which faces, in which batches, compiled once.
Leaves the networks and the identity to `generate`, photos to `anonymize`.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import UInt8

from id2face_jax.data import pairs
from id2face_jax.faces import mask
from id2face_jax.generation import generate

BATCH = 8  # faces a call of the compiled generator; the last batch is padded
NUM_ANONYMOUS = 3


def with_defaults(
    config: ml_collections.ConfigDict,
    num_steps: int | None = None,
    temperature: float | None = None,
) -> ml_collections.FrozenConfigDict:
    """`config` with other model.sample_steps and sample_temperature, where given.

    Raises ValueError for a number of steps below 1 or a temperature out of [0, 1].
    """
    # A plain ConfigDict(config) would share its groups with `config`.
    changed = ml_collections.ConfigDict(config).copy_and_resolve_references()
    if num_steps is not None:
        if num_steps < 1:
            raise ValueError(f"steps is {num_steps}; use 1 or more")
        changed.model.sample_steps = num_steps
    if temperature is not None:
        if not 0.0 <= temperature <= 1.0:
            raise ValueError(f"temperature is {temperature}; use 0 to 1")
        changed.model.sample_temperature = temperature
    return ml_collections.FrozenConfigDict(changed)


def load_faces(source: pairs.Source, num: int) -> generate.Faces:
    """`num` faces spread evenly over the records, with plain masks.

    Raises ValueError if there are not as many.
    """
    if not 1 <= num <= len(source):
        raise ValueError(
            f"num is {num} and the records hold {len(source)} faces; "
            f"use 1 to {len(source)}"
        )
    spread = np.linspace(0, len(source) - 1, num).round()
    rows = [source[int(index)] for index in spread]
    masks = [mask.face_mask(row["landmarks"], row["image"].shape[0]) for row in rows]
    return generate.Faces(
        images=jnp.stack([row["image"] for row in rows]),
        masks=jnp.stack(masks),
        embeddings=jnp.stack([row["embedding"] for row in rows]),
    )


@functools.partial(jax.jit, static_argnames=("config", "mode", "num_steps"))
def _generate(config, weights, faces, seeds, angle, mode, num_steps):
    return generate.generate(
        config, weights, faces, seeds, mode=mode, num_steps=num_steps, angle=angle
    )


def sample(
    config: ml_collections.FrozenConfigDict,
    weights: dict,
    faces: generate.Faces,
    seeds: np.ndarray,
    *,
    mode: str,
    num_steps: int,
    angle: float = 90.0,
) -> UInt8[np.ndarray, "n s s 3"]:
    """`generate.generate` for any number of faces, BATCH at a time, compiled once.

    Args:
      config, weights: of `checkpoint.load_weights`.
      faces: as of `load_faces`.
      seeds: (n,) uint32; a face depends on its own seed, not on its neighbors.
      mode, num_steps, angle: see `generate.generate`.
    """
    num = len(seeds)
    out = []
    for first in range(0, num, BATCH):
        # One shape, so one program: the last rows stand in for missing ones.
        rows = np.minimum(np.arange(first, first + BATCH), num - 1)
        batch = jax.tree.map(lambda x, rows=rows: x[rows], faces)
        new = _generate(
            config,
            weights,
            batch,
            np.asarray(seeds, np.uint32)[rows],
            np.float32(angle),
            mode=mode,
            num_steps=num_steps,
        )
        out.append(np.asarray(new)[: num - first])
    return np.concatenate(out)


def sample_columns(
    config: ml_collections.FrozenConfigDict,
    weights: dict,
    faces: generate.Faces,
    *,
    mode: str,
    num_steps: int,
    angle: float = 90.0,
    seed: int = 0,
) -> tuple[UInt8[np.ndarray, "n k s s 3"], Sequence[str]]:
    """Source, own identity back, NUM_ANONYMOUS faces by `mode`; and their titles.

    seed: column j of face i has the seed (seed, j, i), so another `seed` gives other
    faces.
    """
    num = faces.images.shape[0]

    def column(index, mode):
        seeds = np.random.SeedSequence([seed, index]).generate_state(num)
        return sample(
            config, weights, faces, seeds, mode=mode, num_steps=num_steps, angle=angle
        )

    columns = [faces.images, column(0, "own")]
    labels = ["source", "own identity"]
    for index in range(1, NUM_ANONYMOUS + 1):
        columns.append(column(index, mode))
        labels.append(
            f"{mode} {index}" if mode != "embedding" else f"anonymous {index}"
        )
    return np.stack(columns, axis=1), labels
