"""Gate maps of a batch of the evaluation, for the report."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.people import Batch
from id2face_jax.generation import gates, generate

TIMES = gates.TIMES


def block_gates(
    generator: Generator, batch: Batch, times: Sequence[float] = TIMES
) -> dict[str, Float[np.ndarray, "t n s s"]]:
    """`generation.gates.block_gates` of the batch's own draws."""
    faces = generate.Faces(
        *map(jnp.asarray, (batch.images, batch.masks, batch.embeddings))
    )
    latents = batch.latents(generator.config.model.identity_dim)
    return gates.block_gates(
        generator.config,
        generator.weights,
        faces,
        jnp.asarray(latents),
        jnp.asarray(batch.noise_seeds()),
        times,
    )


def gate_maps(generator: Generator, batch: Batch) -> Float[np.ndarray, "t n s s"]:
    """Mean over the blocks of `block_gates` at TIMES."""
    return np.mean(list(block_gates(generator, batch).values()), axis=0)
