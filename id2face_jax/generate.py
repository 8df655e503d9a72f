"""From face crops and weights to new face crops: the pure generator.

Owns the one path that training grids, `id2face sample` and the anonymizer share:
encode, choose the identity, DDIM, decode, composite. Pure and jittable; loading,
batching and files are in `sampling`.
"""

import jax
import jax.numpy as jnp
import ml_collections
from flax import struct
from jaxtyping import Array, Float, UInt8

from id2face_jax import identity as identities
from id2face_jax.diffusion import ddim, process, schedule
from id2face_jax.models.autoencoder import FACTOR, Autoencoder, to_sphere
from id2face_jax.models.id2face import ID2Face
from id2face_jax.models.layers import resize_map

MODES = ("embedding", "latent", "none", "own", "null")


@struct.dataclass
class Faces:
    """Aligned crops: images uint8, masks in [0, 1], unit embeddings."""

    images: UInt8[Array, "n s s 3"]
    masks: Float[Array, "n s s"]
    embeddings: Float[Array, "n d"]


def make_autoencoder(config: ml_collections.ConfigDict) -> Autoencoder:
    """The autoencoder of config.autoencoder."""
    ae = config.autoencoder
    return Autoencoder(
        ae.latent_channels,
        tuple(ae.dims),
        tuple(ae.encoder_depths),
        tuple(ae.decoder_depths),
        dtype=jnp.dtype(config.train.dtype),
    )


def make_model(config: ml_collections.ConfigDict) -> ID2Face:
    """The trainable networks of config.model."""
    model = config.model
    return ID2Face(
        embedding_dim=model.embedding_dim,
        identity_dim=model.identity_dim,
        identity_hidden_dim=model.identity_hidden_dim,
        attribute_channels=model.attribute_channels,
        attribute_dim=model.attribute_dim,
        attribute_depth=model.attribute_depth,
        condition_dim=model.condition_dim,
        unet_dims=tuple(model.unet_dims),
        unet_depths=tuple(model.unet_depths),
        unet_ratio=model.unet_ratio,
        unet_attention_from=model.unet_attention_from,
        remat=config.train.remat,
        dtype=jnp.dtype(config.train.dtype),
    )


def to_float(images: UInt8[Array, "*b"]) -> Float[Array, "*b"]:
    """uint8 pixels to float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(x: Float[Array, "*b"]) -> UInt8[Array, "*b"]:
    """[-1, 1] to uint8, rounded and clipped."""
    return jnp.clip(jnp.round((x + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def latent_mask(masks: Float[Array, "n s s"]) -> Float[Array, "n h h 1"]:
    """The mask on the latent's grid: the mean over each cell."""
    return resize_map(masks[..., None], masks.shape[1] // FACTOR)


def _condition_embedding(config, model, weights, faces, keys, mode, angle, latents):
    """The embedding that stands in for the source's, (n, d); see MODES."""
    apply = {"params": weights["model"]}

    def decode(u):
        return model.apply(apply, u, method="decode_identity")

    mu, _ = model.apply(apply, faces.embeddings, method="encode_identity")
    if mode in ("own", "null"):
        return decode(mu)
    u = latents
    if u is None:
        u = identities.random_identity(keys, config.model.identity_dim)
    if mode == "latent":
        return decode(identities.orthogonal_map(u, mu, angle))
    if mode == "embedding":
        return identities.orthogonal_map(decode(u), faces.embeddings, angle)
    return decode(u)


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

    def encode(x):
        return autoencoder.apply({"params": weights["autoencoder"]}, x, method="encode")

    x = to_float(faces.images)
    keep = 1.0 - faces.masks[..., None]
    z, zm, mask = encode(x), encode(x * keep), latent_mask(faces.masks)
    f = _condition_embedding(
        config, model, weights, faces, identity_keys, mode, angle, latents
    )
    a, _ = model.apply(apply, z, method="encode_attributes")
    has_identity = jnp.full(seeds.shape, 0.0 if mode == "null" else 1.0)
    condition = model.apply(apply, f, a, has_identity, method="recompose")

    def denoise(zt, t):
        out = model.apply(apply, zt, zm, mask, t, condition, method="denoise")
        shift = config.model.schedule_shift
        x0 = process.to_x0(
            config.model.prediction, out, zt, *schedule.alpha_sigma(t, shift)
        )
        return x0

    noise = jax.vmap(lambda key: jax.random.normal(key, z.shape[1:]))(noise_keys)
    z0 = ddim.sample(denoise, noise, num_steps, config.model.schedule_shift)
    decoded = autoencoder.apply(
        {"params": weights["autoencoder"]}, to_sphere(z0), method="decode"
    )
    return to_uint8(keep * x + (1.0 - keep) * decoded)
