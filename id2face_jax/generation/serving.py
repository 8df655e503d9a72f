"""The sampler as a file: what a server needs beside the weights, and no code of ours.

Owns `jax.export` of `generate.generate`: one program for any number of faces, on CPU,
NVIDIA GPUs and TPUs. The weights stay an argument, so the program is small and
independent of them. jax promises to read such a file for six months
(docs/serving.md); the checkpoint is the archive, and the program is made again from it.
"""

import os
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax import export

from id2face_jax.generation import exports, generate

PROGRAM = "sampler.bin"  # in the folder of an export, beside its weights
PLATFORMS = ("cpu", "cuda", "tpu")


def make_sampler(
    config: ml_collections.ConfigDict, mode: str, num_steps: int
) -> Callable:
    """(weights, images, masks, embeddings, seeds, angle) -> images, see `generate`."""

    def sample(weights, images, masks, embeddings, seeds, angle):
        faces = generate.Faces(images, masks, embeddings)
        return generate.generate(
            config, weights, faces, seeds, mode=mode, num_steps=num_steps, angle=angle
        )

    return sample


def sampler_shapes(
    config: ml_collections.ConfigDict, num
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of a sampler's arguments after the weights. num: faces, or a symbol."""
    size, dim = config.data.image_size, config.model.embedding_dim
    return (
        jax.ShapeDtypeStruct((num, size, size, 3), jnp.uint8),
        jax.ShapeDtypeStruct((num, size, size), jnp.float32),
        jax.ShapeDtypeStruct((num, dim), jnp.float32),
        jax.ShapeDtypeStruct((num,), jnp.uint32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )


def export_sampler(
    config: ml_collections.ConfigDict,
    weights: dict,
    mode: str = "embedding",
    num_steps: int | None = None,
) -> bytes:
    """The program for any number of faces and each of PLATFORMS, serialised.

    Args:
      config, weights: of an export of task id2face; the weights' shapes matter alone.
      mode, num_steps: see `generate.generate`; None is config.model.sample_steps.

    Raises:
      ValueError: the config is of the autoencoder stage, which cannot sample.
    """
    if config.task != "id2face":
        raise ValueError(
            f"task is {config.task!r}, which has no sampler; export a run of id2face"
        )
    steps = config.model.sample_steps if num_steps is None else num_steps
    (num,) = export.symbolic_shape("num_faces")
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), jnp.float32), weights
    )
    program = jax.jit(make_sampler(config, mode, steps))
    exported = export.export(program, platforms=PLATFORMS)(
        shapes, *sampler_shapes(config, num)
    )
    return bytes(exported.serialize())


def load_sampler(folder: str | os.PathLike) -> Callable:
    """The sampler of an export made with `--serving`, with its weights on the device.

    Returns:
      (images, masks, embeddings, seeds, angle=90.0) -> images: uint8 (n, s, s, 3),
      float32 (n, s, s) in [0, 1], float32 (n, d) of unit length, uint32 (n,), degrees.
      Compiled once for each n.

    Raises:
      ValueError: the folder is no export, or was made without --serving.
    """
    _, weights = exports.load_export(folder)
    path = pathlib.Path(folder) / PROGRAM
    if not path.is_file():
        raise ValueError(f"{path} is not there; make the export with --serving")
    program = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    weights = jax.device_put(weights)

    def sample(images, masks, embeddings, seeds, angle=90.0):
        return program(
            weights,
            jnp.asarray(images, jnp.uint8),
            jnp.asarray(masks, jnp.float32),
            jnp.asarray(embeddings, jnp.float32),
            jnp.asarray(seeds, jnp.uint32),
            jnp.float32(angle),
        )

    return sample
