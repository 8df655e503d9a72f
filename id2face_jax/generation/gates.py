"""Gate maps: where in the picture the harmonizers let the identity in.

Owns one look inside the generator. A face is encoded, noised to a few times t and
denoised one step; each harmonizer's gate, averaged over channels, is enlarged to the
crop's size.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float

from id2face_jax.diffusion import process
from id2face_jax.generation import generate
from id2face_jax.models import build

TIMES = (0.9, 0.5, 0.1)


def block_gates(
    config: ml_collections.FrozenConfigDict,
    weights: dict,
    faces: generate.Faces,
    latents: Float[Array, "n u"],
    seeds: Array,
    times: Sequence[float] = TIMES,
) -> dict[str, Float[np.ndarray, "t n s s"]]:
    """Each block's gate for each face at each time: 1 listens to the identity most.

    Args as in `generate.generate`, with mode "embedding". Without gates in the model
    (harmonizer "sum") the result is empty.
    """
    at_times = [
        _look(config, weights, faces, latents, seeds, jnp.full(len(seeds), t))
        for t in jnp.asarray(times, jnp.float32)
    ]
    return {k: np.stack([maps[k] for maps in at_times]) for k in at_times[0]}


@functools.partial(jax.jit, static_argnames="config")
def _look(config, weights, faces, latents, seeds, t) -> dict[str, jax.Array]:
    model, params = build.make_model(config), {"params": weights["model"]}
    x = generate.to_float(faces.images)
    f = generate.requested_embeddings(config, weights, faces, latents, mode="embedding")
    z, zm, mask = generate.encode_crops(config, weights["autoencoder"], x, faces.masks)
    a, _ = model.apply(params, z, method="encode_attributes")
    condition = model.apply(params, f, a, jnp.ones(len(f)), method="recompose")
    keys = jax.vmap(jax.random.key)(seeds)
    noise = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(keys)
    alpha, sigma = build.noise_schedule(config)(t)
    zt = process.mix(z, noise, alpha, sigma)
    seen = build.make_prediction(config).network_input(zt, alpha, sigma)
    inputs = (seen, zm, mask, t, condition)
    _, sown = model.apply(params, *inputs, method="denoise", mutable=["intermediates"])
    return _maps(sown, x.shape[1])


def _maps(intermediates, size: int) -> dict[str, jax.Array]:
    """{block of the UNet: (n, size, size) mean over channels}, each in [0, 1]."""
    maps = {}
    for path, gate in jax.tree_util.tree_leaves_with_path(intermediates):
        names = [str(key.key) for key in path if hasattr(key, "key")]
        if names[-1] == "gate_map":
            mean, shape = jnp.mean(gate, axis=-1), (gate.shape[0], size, size)
            maps[names[-3]] = jax.image.resize(mean, shape, "bilinear")
    return maps
