"""From face crops and weights to new face crops: the pure generator.

Owns the one path that training grids, `id2face sample` and the anonymizer share:
encode, choose the identity, DDIM, decode, composite. Pure and jittable; loading,
batching and files are in `sampling`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from flax import struct
from jaxtyping import Array, Float, UInt8

from id2face_jax import identity as identities
from id2face_jax.diffusion import ddim, discrete, process, schedule
from id2face_jax.models.autoencoder import FACTOR, Autoencoder
from id2face_jax.models.id2face import ID2Face
from id2face_jax.models.layers import resize_map
from id2face_jax.models.sd_autoencoder import StableAutoencoder
from id2face_jax.models.sd_unet import StableUNet, TokenUNet
from id2face_jax.models.unet import UNet

KINDS = ("embedded", "stable_diffusion")  # of autoencoders and of UNets
HARMONIZERS = ("gated", "sum")
MODES = ("embedding", "latent", "none", "own", "null")


@struct.dataclass
class Faces:
    """Aligned crops: images uint8, masks in [0, 1], unit embeddings."""

    images: UInt8[Array, "n s s 3"]
    masks: Float[Array, "n s s"]
    embeddings: Float[Array, "n d"]


def make_autoencoder(
    config: ml_collections.ConfigDict,
) -> Autoencoder | StableAutoencoder:
    """The autoencoder of config.autoencoder. Raises ValueError for an unknown kind."""
    ae, dtype = config.autoencoder, jnp.dtype(config.train.dtype)
    size = (ae.latent_channels, tuple(ae.dims), tuple(ae.depths))
    if ae.kind == "embedded":
        return Autoencoder(*size, dtype=dtype)
    if ae.kind != "stable_diffusion":
        raise ValueError(f"autoencoder.kind is {ae.kind!r}; expected one of {KINDS}")
    return StableAutoencoder(
        *size,
        scale=ae.scale,
        codebook=ae.codebook,
        attention_levels=tuple(ae.attention_levels),
        groups=ae.groups,
        dtype=dtype,
    )


def make_model(config: ml_collections.ConfigDict) -> ID2Face:
    """The trainable networks of config.model."""
    model, portrait = config.model, None
    if model.portrait:
        side = config.data.image_size // make_autoencoder(config).factor
        portrait = (side, side, config.autoencoder.latent_channels)
    return ID2Face(
        embedding_dim=model.embedding_dim,
        identity_dim=model.identity_dim,
        identity_hidden_dim=model.identity_hidden_dim,
        attribute_channels=model.attribute_channels,
        attribute_dim=model.attribute_dim,
        attribute_depth=model.attribute_depth,
        attribute_stride=model.attribute_stride,
        leak_probe_dim=model.leak_probe_dim,
        condition_dim=model.condition_dim,
        identity_space=model.identity_space,
        portrait_shape=portrait,
        critic_dim=config.loss.critic_dim,
        unet=_make_unet(config),
        dtype=jnp.dtype(config.train.dtype),
    )


def _make_unet(config: ml_collections.ConfigDict) -> UNet | TokenUNet:
    model = config.model
    size = (tuple(model.unet_dims), tuple(model.unet_depths))
    if model.harmonizer not in HARMONIZERS:
        raise ValueError(
            f"model.harmonizer is {model.harmonizer!r}; use one of {HARMONIZERS}"
        )
    inside = {
        "gated": model.harmonizer == "gated",
        "remat": config.train.remat,
        "dtype": jnp.dtype(config.train.dtype),
    }
    if model.kind == "embedded":
        return UNet(*size, model.unet_ratio, model.unet_attention_from, **inside)
    if model.kind != "stable_diffusion":
        raise ValueError(f"model.kind is {model.kind!r}; expected one of {KINDS}")
    stable = StableUNet(
        *size,
        heads=tuple(model.unet_heads),
        attention_levels=tuple(model.unet_attention_levels),
        groups=model.unet_groups,
        **inside,
    )
    return TokenUNet(
        stable, model.token_dim, model.identity_tokens, model.attribute_grid
    )


def noise_schedule(config: ml_collections.ConfigDict) -> Callable:
    """t -> (alpha, sigma) of config.model.schedule.

    Raises ValueError for an unknown schedule, and for eps prediction under one whose
    terminal SNR is zero.
    """
    model = config.model
    if model.schedule == "stable_diffusion":
        return discrete.alpha_sigma
    if model.schedule != "cosine":
        raise ValueError(
            f"model.schedule is {model.schedule!r}; expected cosine or stable_diffusion"
        )
    if model.prediction == "eps":
        raise ValueError(
            "model.prediction is 'eps', which has no x0 at the start of the cosine "
            "schedule; use v or x0, or model.schedule='stable_diffusion'"
        )
    return functools.partial(schedule.alpha_sigma, shift=model.schedule_shift)


def to_float(images: UInt8[Array, "*b"]) -> Float[Array, "*b"]:
    """uint8 pixels to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(x: Float[Array, "*b"]) -> UInt8[Array, "*b"]:
    """[-1, 1] to uint8, rounded and clipped."""
    return jnp.clip(jnp.round((x + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def latent_mask(
    masks: Float[Array, "n s s"], factor: int = FACTOR
) -> Float[Array, "n h h 1"]:
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
    autoencoder = make_autoencoder(config)

    def encode(x):
        return autoencoder.apply({"params": params}, x, method="encode")

    z, mask = encode(x), latent_mask(masks, autoencoder.factor)
    if not config.model.masked:
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
    if mode == "embedding":
        return identities.orthogonal_map(decode(latents), faces.embeddings, angle)
    return decode(latents)


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
) -> UInt8[Array, "n s s 3"]:
    """New crops: the masked region generated, the rest the source's own pixels.

    Args:
      config: of the export or run the weights come from.
      weights: {"model": ..., "autoencoder": ...} parameters.
      faces: what to change.
      seeds: (n,) uint32, one a face; a row depends on its own seed alone.
      mode: where a random identity is held at `angle` to the source's:
        "embedding" or "latent", "none" (random, not held away), or "own" (the
        source's identity back) or "null" (no identity).
      num_steps: DDIM steps.
      angle: degrees; 90 is orthogonal.
      latents: identity latents to use for the random ones.
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
    a, _ = model.apply(apply, z, method="encode_attributes")
    has_identity = jnp.full(seeds.shape, 0.0 if mode == "null" else 1.0)
    condition = model.apply(apply, f, a, has_identity, method="recompose")

    def denoise(zt, t):
        kind, (alpha, sigma) = config.model.prediction, alpha_sigma(t)
        seen = process.network_input(kind, zt, alpha)
        out = model.apply(apply, seen, zm, mask, t, condition, method="denoise")
        return process.to_x0(kind, out, zt, alpha, sigma)

    noise = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(noise_keys)
    # Below 1 the picture keeps closer to the likeliest one (as in Kingma & Dhariwal
    # 2018, section 6). Who appears hangs on the identity, not on this noise.
    noise = config.model.sample_temperature * noise
    z0 = ddim.sample(denoise, noise, num_steps, alpha_sigma)
    decoded = autoencoder.apply({"params": weights["autoencoder"]}, z0, method="decode")
    return to_uint8(keep * x + (1.0 - keep) * decoded)
