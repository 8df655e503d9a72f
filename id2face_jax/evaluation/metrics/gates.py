"""Gate maps: where in the picture the harmonizer lets the identity in.

Owns one look inside the generator for the report. An untouched face is encoded, noised
to a few times t and denoised one step; each harmonizer's gate, averaged over channels,
is enlarged to the crop's size.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from id2face_jax.diffusion import process
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.people import Batch
from id2face_jax.generation import generate
from id2face_jax.models import build

TIMES = (0.9, 0.5, 0.1)


def _gates(intermediates, size: int) -> dict[str, jax.Array]:
    """{block of the UNet: (n, size, size) mean over channels}, each in [0, 1]."""
    maps = {}
    for path, gate in jax.tree_util.tree_leaves_with_path(intermediates):
        names = [str(key.key) for key in path if hasattr(key, "key")]
        if names[-1] == "gate_map":
            mean, shape = jnp.mean(gate, axis=-1), (gate.shape[0], size, size)
            maps[names[-3]] = jax.image.resize(mean, shape, "bilinear")
    return maps


def block_gates(
    generator: Generator, batch: Batch, times: Sequence[float] = TIMES
) -> dict[str, Float[np.ndarray, "t n s s"]]:
    """Each block's gate for each face at each time: 1 listens to the identity alone."""
    config, size = generator.config, batch.images.shape[1]
    model = build.make_model(config)
    alpha_sigma = build.noise_schedule(config)

    @jax.jit
    def look(weights, faces, latents, seeds, t):
        params = {"params": weights["model"]}
        x = generate.to_float(faces.images)
        f = generate.requested_embeddings(
            config, weights, faces, latents, mode="embedding"
        )
        z, zm, mask = generate.encode_crops(
            config, weights["autoencoder"], x, faces.masks
        )
        a, _ = model.apply(params, z, method="encode_attributes")
        condition = model.apply(params, f, a, jnp.ones(len(f)), method="recompose")
        keys = jax.vmap(jax.random.key)(seeds)
        noise = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(keys)
        alpha, sigma = alpha_sigma(t)
        zt = process.mix(z, noise, alpha, sigma)
        _, sown = model.apply(
            params,
            build.make_prediction(config).network_input(zt, alpha, sigma),
            zm,
            mask,
            t,
            condition,
            method="denoise",
            mutable=["intermediates"],
        )
        return _gates(sown, size)

    faces = generate.Faces(
        *map(jnp.asarray, (batch.images, batch.masks, batch.embeddings))
    )
    latents = batch.latents(config.model.identity_dim)
    seeds = batch.noise_seeds()
    at_times = [
        look(generator.weights, faces, latents, seeds, jnp.full(len(seeds), t))
        for t in jnp.asarray(times, jnp.float32)
    ]
    return {k: np.stack([maps[k] for maps in at_times]) for k in at_times[0]}


def gate_maps(generator: Generator, batch: Batch) -> Float[np.ndarray, "t n s s"]:
    """Mean over the blocks of `block_gates` at TIMES."""
    return np.mean(list(block_gates(generator, batch).values()), axis=0)
