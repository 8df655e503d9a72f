"""Gate maps: where in the picture the harmonizer lets the identity in.

Owns one look inside the generator for the report. An untouched face is encoded, noised
to a few times t and denoised one step; each harmonizer's gate, averaged over channels
and over the blocks of the UNet, is enlarged to the crop's size.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from id2face_jax import generate
from id2face_jax.diffusion import process
from id2face_jax.evaluation.methods import Generator
from id2face_jax.evaluation.people import Batch

TIMES = (0.9, 0.5, 0.1)


def _mean_gate(intermediates, size: int):
    """(n, size, size) mean of all sown gates, in [0, 1]."""
    gates = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(intermediates)
        if "gate" in jax.tree_util.keystr(path)
    ]
    maps = [
        jax.image.resize(
            jnp.mean(gate, axis=-1), (gate.shape[0], size, size), "bilinear"
        )
        for gate in gates
    ]
    return sum(maps) / len(maps)


def gate_maps(generator: Generator, batch: Batch) -> Float[np.ndarray, "t n s s"]:
    """Mean gate of each face at each of TIMES: 1 listens to the identity alone."""
    config, size = generator.config, batch.images.shape[1]
    model = generate.make_model(config)
    alpha_sigma = generate.noise_schedule(config)

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
            process.network_input(config.model.prediction, zt, alpha),
            zm,
            mask,
            t,
            condition,
            method="denoise",
            mutable=["intermediates"],
        )
        return _mean_gate(sown, size)

    faces = generate.Faces(
        *map(jnp.asarray, (batch.images, batch.masks, batch.embeddings))
    )
    latents = batch.latents(config.model.identity_dim)
    seeds = batch.noise_seeds()
    times = [jnp.full(len(seeds), t, jnp.float32) for t in TIMES]
    return np.stack([look(generator.weights, faces, latents, seeds, t) for t in times])
