"""The UNet's attention over positions and over the condition's tokens.

Owns Stable Diffusion's spatial transformer in diffusers' layout (Transformer2DModel
with one BasicTransformerBlock). Its projections in and out, 1x1 convolutions
in version 1 and linear layers in version 2, are dense layers for both.
Source: Rombach et al. 2022, appendix E.2.1.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.stable_diffusion.layers import attend_by_heads, group_norm


class CrossAttention(nn.Module):
    """Positions attend to `context`, or to themselves when it is the same array.

    kernel: here and below, see `attention.attend`.
    """

    num_heads: int
    kernel: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], context: Float[Array, "b m d"]
    ) -> Float[Array, "b n c"]:
        dim = x.shape[-1]

        def dense(name, use_bias=False):
            return nn.Dense(dim, use_bias=use_bias, dtype=self.dtype, name=name)

        q, k, v = dense("to_q")(x), dense("to_k")(context), dense("to_v")(context)
        h = attend_by_heads(q, k, v, self.num_heads, self.kernel)
        return dense("to_out_0", use_bias=True)(h)


class FeedForward(nn.Module):
    """GEGLU, four times as wide (Shazeer 2020), with the exact GELU."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
        dim = x.shape[-1]
        h = nn.Dense(8 * dim, dtype=self.dtype, name="net_0_proj")(x)
        h, gate = jnp.split(h, 2, axis=-1)
        h = h * jax.nn.gelu(gate, approximate=False)
        return nn.Dense(dim, dtype=self.dtype, name="net_2")(h)


class TransformerBlock(nn.Module):
    """Self-attention, attention to the context, feed-forward; each residual."""

    num_heads: int
    kernel: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n c"], context: Float[Array, "b m d"]
    ) -> Float[Array, "b n c"]:
        def norm(name):
            # As group_norm's: the slow variance, against cancellation.
            return nn.LayerNorm(
                epsilon=1e-5, use_fast_variance=False, dtype=self.dtype, name=name
            )

        def attention(name):
            return CrossAttention(
                self.num_heads, self.kernel, dtype=self.dtype, name=name
            )

        h = norm("norm1")(x)
        x = x + attention("attn1")(h, h)
        x = x + attention("attn2")(norm("norm2")(x), context)
        return x + FeedForward(dtype=self.dtype, name="ff")(norm("norm3")(x))


class SpatialTransformer(nn.Module):
    """Residual transformer over the positions of a map.

    Args:
      num_heads: of each attention.
      groups: of the group normalisation.
      kernel: of the attention.
    """

    num_heads: int
    groups: int
    kernel: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], context: Float[Array, "b m d"]
    ) -> Float[Array, "b h w c"]:
        dim = x.shape[-1]
        if dim % self.num_heads:
            raise ValueError(
                f"{dim} channels do not split into {self.num_heads} heads; change "
                "model.unet_heads or model.unet_dims"
            )
        h = group_norm(self.groups, 1e-6, self.dtype, "norm")(x)
        h = nn.Dense(dim, dtype=self.dtype, name="proj_in")(h)
        h = h.reshape(h.shape[0], -1, dim)
        block = TransformerBlock(
            self.num_heads, self.kernel, dtype=self.dtype, name="transformer_blocks_0"
        )
        h = block(h, context)
        h = nn.Dense(dim, dtype=self.dtype, name="proj_out")(h)
        return x + h.reshape(x.shape)
