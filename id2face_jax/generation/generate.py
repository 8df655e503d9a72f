"""From face crops and weights to new face crops: the pure generator.

Owns the one path that training grids, `id2face sample` and the anonymizer share:
encode, choose the identity, DDIM, decode, composite. Pure and jittable; loading,
batching and files are in `sampling`.
"""

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn
from flax import struct
from jaxtyping import Array, Float, UInt8

from id2face_jax import identity as identities
from id2face_jax.diffusion import ddim
from id2face_jax.models.build import (
    make_autoencoder,
    make_model,
    make_prediction,
    noise_schedule,
)
from id2face_jax.models.layers import resize_map

MODES = ("embedding", "free", "latent", "none", "own", "null")


@struct.dataclass
class Faces:
    """Aligned crops: images uint8, masks in [0, 1], unit embeddings."""

    images: UInt8[Array, "n s s 3"]
    masks: Float[Array, "n s s"]
    embeddings: Float[Array, "n d"]


def to_float(images: UInt8[Array, "*b"]) -> Float[Array, "*b"]:
    """uint8 pixels to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(x: Float[Array, "*b"]) -> UInt8[Array, "*b"]:
    """[-1, 1] to uint8, rounded and clipped."""
    return jnp.clip(jnp.round((x + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def latent_mask(masks: Float[Array, "n s s"], factor: int) -> Float[Array, "n h h 1"]:
    """The mask on the latent's grid: the mean over each cell of factor^2 pixels."""
    return resize_map(masks[..., None], masks.shape[1] // factor)


def encode_crops(
    config: ml_collections.ConfigDict,
    params: dict,
    x: Float[Array, "n s s 3"],
    masks: Float[Array, "n s s"],
) -> tuple[Float[Array, "n h h c"], Float[Array, "n h h c"], Float[Array, "n h h 1"]]:
    """z = E(x), what the UNet sees of it, z_m = E(x (1 - m)), and m on z's grid.

    params: of the autoencoder. x: images in [-1, 1]. Without config.model.masked the
    UNet sees nothing of x and paints all of it.
    """
    return encode_latents(
        make_autoencoder(config), params, x, masks, config.model.masked
    )


def encode_latents(
    autoencoder: nn.Module,
    params: dict,
    x: Float[Array, "n s s 3"],
    masks: Float[Array, "n s s"],
    masked: bool,
) -> tuple[Float[Array, "n h h c"], Float[Array, "n h h c"], Float[Array, "n h h 1"]]:
    """`encode_crops` with the network itself; masked: as config.model.masked."""

    def encode(x):
        return autoencoder.apply({"params": params}, x, method="encode")

    z, mask = encode(x), latent_mask(masks, autoencoder.factor)
    if not masked:
        return z, jnp.zeros_like(z), jnp.ones_like(mask)
    return z, encode(x * (1.0 - masks[..., None])), mask


def requested_embeddings(
    config: ml_collections.ConfigDict,
    weights: dict,
    faces: Faces,
    latents: Float[Array, "n u"],
    *,
    mode: str,
    angle: float | jax.Array = 90.0,
) -> Float[Array, "n d"]:
    """The unit embeddings that `generate` asks the UNet for: the new identities.

    Args as in `generate`; with mode "null" the UNet is told to ignore them.
    """
    model, apply = make_model(config), {"params": weights["model"]}

    def decode(u):
        return model.apply(apply, u, method="decode_identity")

    mu, _ = model.apply(apply, faces.embeddings, method="encode_identity")
    if mode in ("own", "null"):
        return decode(mu)
    if mode == "latent":
        return decode(identities.orthogonal_map(latents, mu, angle))
    if mode == "embedding" and "appearance" in weights:
        return identities.keep_appearance(
            decode(latents), faces.embeddings, weights["appearance"], angle
        )
    if mode in ("embedding", "free"):
        return identities.orthogonal_map(decode(latents), faces.embeddings, angle)
    return decode(latents)


def identity_latents(
    config: ml_collections.ConfigDict, weights: dict, faces: Faces
) -> Float[Array, "n u"]:
    """The faces' own identity latents, mu of eq. 1 of `models.identity_vae`.

    With mode "none" they are whose faces `generate` draws.
    """
    params = {"params": weights["model"]}
    return make_model(config).apply(params, faces.embeddings, method="encode_identity")[
        0
    ]


def attribute_latents(
    config: ml_collections.ConfigDict, weights: dict, faces: Faces
) -> Float[Array, "n g g a"]:
    """The faces' attribute latents, mu of eq. 1 of `models.recomposer`."""
    x = to_float(faces.images)
    z, _, _ = encode_crops(config, weights["autoencoder"], x, faces.masks)
    params = {"params": weights["model"]}
    return make_model(config).apply(params, z, method="encode_attributes")[0]


def generate(
    config: ml_collections.ConfigDict,
    weights: dict,
    faces: Faces,
    seeds: jax.Array,
    *,
    mode: str,
    num_steps: int,
    angle: float | jax.Array = 90.0,
    latents: Float[Array, "n u"] | None = None,
    attributes: Float[Array, "n g g a"] | None = None,
) -> UInt8[Array, "n s s 3"]:
    """New crops: the masked region generated, the rest the source's own pixels.

    Args:
      config: of the export or run the weights come from.
      weights: {"model": ..., "autoencoder": ...} parameters, and perhaps
        "appearance": directions (k, d), see `identity.keep_appearance`.
      faces: what to change.
      seeds: (n,) uint32, one a face; a row depends on its own seed alone.
      mode: where a random identity is held at `angle` to the source's:
        "embedding" (with the source's appearance, where the weights have directions
        of it), "free" (the same without) or "latent", "none" (random, not held away),
        or "own" (the source's identity back) or "null" (no identity).
      num_steps: DDIM steps.
      angle: degrees; 90 is orthogonal.
      latents: identity latents to use for the random ones.
      attributes: attribute latents to use for the faces' own; see
        `attribute_latents`.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {MODES}")
    model, autoencoder = make_model(config), make_autoencoder(config)
    apply = {"params": weights["model"]}
    keys = identities.image_keys(seeds)
    noise_keys, identity_keys = (
        jax.vmap(jax.random.fold_in, (0, None))(keys, i) for i in (0, 1)
    )

    alpha_sigma = noise_schedule(config)
    x = to_float(faces.images)
    keep = 1.0 - faces.masks[..., None]
    z, zm, mask = encode_crops(config, weights["autoencoder"], x, faces.masks)
    if latents is None:
        latents = identities.random_identity(identity_keys, config.model.identity_dim)
    f = requested_embeddings(config, weights, faces, latents, mode=mode, angle=angle)
    if attributes is None:
        attributes, _ = model.apply(apply, z, method="encode_attributes")
    has_identity = jnp.full(seeds.shape, 0.0 if mode == "null" else 1.0)
    condition = model.apply(apply, f, attributes, has_identity, method="recompose")

    prediction = make_prediction(config)

    def denoise(zt, t):
        alpha, sigma = alpha_sigma(t)
        seen = prediction.network_input(zt, alpha, sigma)
        out = model.apply(apply, seen, zm, mask, t, condition, method="denoise")
        return prediction.to_x0(out, zt, alpha, sigma)

    noise = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(noise_keys)
    # Below 1 the picture keeps closer to the likeliest one (as in Kingma & Dhariwal
    # 2018, section 6). Who appears hangs on the identity, not on this noise.
    noise = config.model.sample_temperature * noise
    z0 = ddim.sample(denoise, noise, num_steps, alpha_sigma)
    decoded = autoencoder.apply({"params": weights["autoencoder"]}, z0, method="decode")
    return to_uint8(keep * x + (1.0 - keep) * decoded)
