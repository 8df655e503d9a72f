"""The generator's rows: as it ships, and ablations of how its identity is chosen.

Owns the list of its variants, which share one compiled program a mode, and how batches
are padded for it.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.people import Batch
from id2face_jax.generation import generate

# Method to generate.MODES, and what it is, for readers of the report.
GENERATOR = {
    "id2face": (
        "free",
        "our generator: a random face, --strength degrees from the source's",
    ),
    "keep": (
        "embedding",
        "the same with the source's apparent sex, age and skin tone: --appearance keep",
    ),
    "latent": ("latent", "ablation: held away in the identity latent instead"),
    "no-oim": ("none", "ablation: a random face, not held away from the source's"),
    "null": ("null", "ablation: no identity given, attributes only"),
    "own": ("own", "upper bound: our generator asked for the source's own identity"),
}


@dataclasses.dataclass(frozen=True)
class Generator:
    """Weights and how they are sampled. config: frozen, hashable."""

    config: Any
    weights: Any
    sha256: str
    num_steps: int
    angle: float
    batch_size: int


def _padded(function, batch: Batch, latents, size: int) -> np.ndarray:
    """Applies a jitted function to rows in batches of one size, so it compiles once."""
    parts = []
    seeds = batch.noise_seeds()
    for first in range(0, len(batch.rows), size):
        rows = np.arange(first, min(first + size, len(batch.rows)))
        padded = np.resize(rows, size)
        images, masks, embeddings, padded_seeds, padded_latents = (
            jnp.asarray(array[padded])
            for array in (batch.images, batch.masks, batch.embeddings, seeds, latents)
        )
        faces = generate.Faces(images, masks, embeddings)
        out = function(faces, padded_seeds, padded_latents)
        parts.append(np.asarray(out)[: len(rows)])
    return np.concatenate(parts)


def make_generator_method(name: str, generator: Generator) -> Method:
    """The Method of one entry of GENERATOR."""
    mode, meaning = GENERATOR[name]
    config = generator.config
    options = {"mode": mode, "angle": generator.angle}

    @jax.jit
    def crops(weights, faces, seeds, latents):
        return generate.generate(
            config,
            weights,
            faces,
            seeds,
            num_steps=generator.num_steps,
            latents=latents,
            **options,
        )

    @jax.jit
    def embeddings(weights, faces, seeds, latents):
        del seeds
        return generate.requested_embeddings(config, weights, faces, latents, **options)

    def over(function, batch: Batch) -> np.ndarray:
        return _padded(
            functools.partial(function, generator.weights),
            batch,
            batch.latents(config.model.identity_dim),
            generator.batch_size,
        )

    draws = name not in ("own", "null")
    return Method(
        name,
        meaning,
        functools.partial(over, crops),
        [name, generator.sha256, generator.num_steps, generator.angle],
        must_hide=draws,
        draws_identity=draws,
        requested=None if name == "null" else functools.partial(over, embeddings),
    )
