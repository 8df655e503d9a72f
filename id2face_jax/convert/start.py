"""A converted UNet as the start of a training run: the rest of the model, fresh."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from id2face_jax.convert import diffusers
from id2face_jax.models import build


def start_model(
    config: ml_collections.ConfigDict, tensors: Mapping[str, np.ndarray], where: str
) -> dict:
    """Parameters of config.model: the UNet from a file, the rest from config.seed.

    Args:
      config: of the run, with model.kind "stable_diffusion".
      tensors: of a diffusers UNet2DConditionModel.
      where: the file, for messages.

    Raises:
      ValueError: another kind of model, or a UNet of other sizes.
    """
    if config.model.kind != "stable_diffusion":
        raise ValueError(
            f"model.kind is {config.model.kind!r}, which has no place for a converted "
            "UNet; use a config such as configs/ffhq512.py"
        )
    model = build.make_model(config)
    side = config.data.image_size // build.make_autoencoder(config).factor

    def init(key):
        zeros = jnp.zeros((1, side, side, config.autoencoder.latent_channels))
        f = jnp.zeros((1, config.model.embedding_dim))
        return model.init(key, zeros, zeros, zeros[..., :1], jnp.ones((1,)), f)[
            "params"
        ]

    key = jax.random.key(config.seed)
    expected = jax.eval_shape(init, key)["unet"]["stable"]
    converted = diffusers.convert_unet(tensors, expected, where)

    # Jitted, and without what is converted: the forward pass that an init runs, and a
    # gigabyte of random numbers, are then never computed.
    @jax.jit
    def fresh(key):
        params = init(key)
        stable = params["unet"]["stable"]
        kept = {k: v for k, v in stable.items() if k not in converted}
        return params | {"unet": params["unet"] | {"stable": kept}}

    params = jax.device_get(fresh(key))
    params["unet"]["stable"] |= converted
    return params
