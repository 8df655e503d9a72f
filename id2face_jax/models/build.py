"""Networks and noise schedule from a config: the one place where config.model is read.

Owns the choice between the kinds of networks. The networks themselves take plain
arguments and stand beside this file.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import ml_collections
from flax import linen as nn

from id2face_jax.diffusion import discrete, process, schedule
from id2face_jax.models.autoencoder import Autoencoder
from id2face_jax.models.critic import Critic
from id2face_jax.models.harmonizer import FUSIONS
from id2face_jax.models.id2face import ID2Face
from id2face_jax.models.recognizers.iresnet import IResNet
from id2face_jax.models.recognizers.mobilefacenet import MobileFaceNet
from id2face_jax.models.recognizers.mobilenet import MobileNet
from id2face_jax.models.stable_diffusion.autoencoder import StableAutoencoder
from id2face_jax.models.stable_diffusion.unet import StableUNet, TokenUNet
from id2face_jax.models.unet import UNet

RECOGNIZERS = {
    "iresnet": IResNet,
    "mobilefacenet": MobileFaceNet,
    "mobilenet": MobileNet,
}
KINDS = ("embedded", "stable_diffusion")  # of autoencoders and of UNets


def make_autoencoder(
    config: ml_collections.ConfigDict,
) -> Autoencoder | StableAutoencoder:
    """The autoencoder of config.autoencoder. Raises ValueError for an unknown kind."""
    ae, dtype = config.autoencoder, jnp.dtype(config.train.dtype)
    size = (ae.latent_channels, tuple(ae.dims), tuple(ae.depths))
    if ae.kind == "embedded":
        return Autoencoder(*size, factor=ae.factor, dtype=dtype)
    if ae.kind != "stable_diffusion":
        raise ValueError(f"autoencoder.kind is {ae.kind!r}; expected one of {KINDS}")
    return StableAutoencoder(
        *size,
        scale=ae.scale,
        codebook=ae.codebook,
        attention_levels=tuple(ae.attention_levels),
        groups=ae.groups,
        kernel=_attention(config),
        dtype=dtype,
    )


def _attention(config: ml_collections.ConfigDict) -> str:
    """config.model.attention; exports from before there was a choice lack it, and
    those of a converted autoencoder have no config.model.
    """
    return config.get("model", {}).get("attention", "auto")


def make_recognizer(config: ml_collections.ConfigDict) -> nn.Module:
    """The network of config.recognizer, as `id2face convert` writes it."""
    fields = dict(config.recognizer.items())
    kind = fields.pop("kind")
    if kind not in RECOGNIZERS:
        raise ValueError(
            f"recognizer.kind is {kind!r}; expected one of {sorted(RECOGNIZERS)}"
        )
    return RECOGNIZERS[kind](**fields)


def make_pixel_critic(config: ml_collections.ConfigDict) -> Critic:
    """What tells photos from decoded ones while the decoder is finished."""
    return Critic(config.autoencoder.critic_dim, bias=False)


def make_model(config: ml_collections.ConfigDict) -> ID2Face:
    """The trainable networks of config.model."""
    model, template = config.model, None
    if model.portrait:
        side = config.data.image_size // make_autoencoder(config).factor
        template = (side, side, config.autoencoder.latent_channels)
    return ID2Face(
        embedding_dim=model.embedding_dim,
        identity_dim=model.identity_dim,
        identity_hidden_dim=model.identity_hidden_dim,
        attribute_channels=model.attribute_channels,
        attribute_dim=model.attribute_dim,
        attribute_depth=model.attribute_depth,
        attribute_stride=model.attribute_stride,
        identity_grid=model.identity_grid,
        leak_probe_dim=model.leak_probe_dim,
        verifier_dim=config.loss.verifier_dim,
        # Older exports have neither field.
        second_dim=(
            config.loss.second_dim if config.loss.get("second_recognizer") else 0
        ),
        condition_dim=model.condition_dim,
        identity_space=model.identity_space,
        template_shape=template,
        critic_dim=config.loss.critic_dim,
        unet=_make_unet(config),
        dtype=jnp.dtype(config.train.dtype),
    )


def _make_unet(config: ml_collections.ConfigDict) -> UNet | TokenUNet:
    model = config.model
    size = (tuple(model.unet_dims), tuple(model.unet_depths))
    if model.harmonizer not in FUSIONS:
        raise ValueError(
            f"model.harmonizer is {model.harmonizer!r}; use one of {FUSIONS}"
        )
    inside = {
        "fusion": model.harmonizer,
        "kernel": _attention(config),
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


def make_prediction(config: ml_collections.ConfigDict) -> process.Prediction:
    """What the UNet's output stands for, by config.model.prediction."""
    sigma_data = make_autoencoder(config).sigma_data
    return process.Prediction(config.model.prediction, sigma_data)


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
