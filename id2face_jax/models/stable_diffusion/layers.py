"""Layers that Stable Diffusion's autoencoder and UNet share, in diffusers' layout.

Owns the residual block and the two resamplers. Submodules carry diffusers' names, so
that `convert` can spell a checkpoint's key from a parameter's path; convolutions of
size 1 are dense layers here, which is the same arithmetic.
Source: Rombach et al. 2022 and the layout of diffusers' AutoencoderKL and
UNet2DConditionModel, checked against them in tests/parity.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.attention import attend


def conv3(features: int, dtype: DTypeLike, name: str) -> nn.Conv:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv(features, (3, 3), padding=1, dtype=dtype, name=name)


def group_norm(groups: int, epsilon: float, dtype: DTypeLike, name: str):
    """Group normalisation; statistics in float32 whatever the dtype.

    The slow variance, mean((x - mean)^2): the quick one cancels where a group's mean
    is large against its spread, as it is in trained Stable Diffusion networks.
    """
    return nn.GroupNorm(
        groups, epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name
    )


class ResnetBlock(nn.Module):
    """Norm, SiLU, conv; time shift; norm, SiLU, conv; plus the input.

    Args:
      features: channels out.
      groups, epsilon: of the group normalisation.
    """

    features: int
    groups: int
    epsilon: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], temb: Float[Array, "b k"] | None = None
    ) -> Float[Array, "b h w d"]:
        h = group_norm(self.groups, self.epsilon, self.dtype, "norm1")(x)
        h = conv3(self.features, self.dtype, "conv1")(nn.silu(h))
        if temb is not None:
            shift = nn.Dense(self.features, dtype=self.dtype, name="time_emb_proj")
            h = h + shift(nn.silu(temb))[:, None, None]
        h = group_norm(self.groups, self.epsilon, self.dtype, "norm2")(h)
        h = conv3(self.features, self.dtype, "conv2")(nn.silu(h))
        if x.shape[-1] != self.features:
            x = nn.Dense(self.features, dtype=self.dtype, name="conv_shortcut")(x)
        return x + h


class Downsample(nn.Module):
    """A stride-2 convolution.

    Args:
      padding: zeros before and after each axis; the autoencoder pads (0, 1), the UNet
        (1, 1).
    """

    padding: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k l c"]:
        conv = nn.Conv(
            x.shape[-1],
            (3, 3),
            strides=2,
            padding=(self.padding, self.padding),
            dtype=self.dtype,
            name="conv",
        )
        return conv(x)


class Upsample(nn.Module):
    """Twice the size by nearest neighbors, then a convolution."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b k l c"]:
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
        return conv3(x.shape[-1], self.dtype, "conv")(x)


def attend_by_heads(
    q: Float[Array, "b n c"],
    k: Float[Array, "b m c"],
    v: Float[Array, "b m c"],
    num_heads: int,
    kernel: str,
) -> Float[Array, "b n c"]:
    """Multi-head attention, heads side by side. kernel: see `attention.attend`."""

    def split(x):
        return x.reshape(*x.shape[:2], num_heads, -1)

    return attend(split(q), split(k), split(v), kernel).reshape(q.shape)
