"""Stable Diffusion's UNet as the denoiser of ID2Face.

Owns two modules. `StableUNet` has the layout of diffusers' UNet2DConditionModel, so
that public weights convert, with two additions that are zero at initialisation: a
convolution for extra input channels, and a harmonizer at every level. `TokenUNet`
puts it behind the call that `id2face.ID2Face` makes: it turns our condition into the
tokens that the UNet attends to. All additions are ours; with them at their start the
network computes what the converted one computed:

    (1)  h_0 = conv_in(z_t) + conv_in_known([mask, z_m])     conv_in_known = 0 at start
    (2)  h   = h + (IGLH(h) - RMSNorm(h))                    IGLH = RMSNorm at start
    (3)  context = [identity tokens, attribute tokens]

Source: Rombach et al. 2022; the split of the inpainting checkpoints' nine input
channels (4 noisy, 1 mask, 4 masked image) is diffusers'.
"""

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.diffusion import discrete
from id2face_jax.models.harmonizer import Harmonizer
from id2face_jax.models.layers import resize_map, rms_norm
from id2face_jax.models.recomposer import Condition
from id2face_jax.models.stable_diffusion.layers import (
    Downsample,
    ResnetBlock,
    Upsample,
    conv3,
    group_norm,
)
from id2face_jax.models.stable_diffusion.transformer import SpatialTransformer
from id2face_jax.models.unet import rematerialised

EPSILON = 1e-5  # of the group normalisations outside the transformers


def step_embedding(step: Float[Array, " b"], dim: int) -> Float[Array, "b d"]:
    """Cosines, then sines, of a step number at `dim / 2` frequencies (1 to 1e-4).

    diffusers' Timesteps with flip_sin_to_cos and freq_shift 0.
    """
    half = dim // 2
    freqs = jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / half)
    angles = step[:, None] * freqs[None]
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)


class TimeEmbedding(nn.Module):
    """Dense, SiLU, dense."""

    dim: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b k"]) -> Float[Array, "b d"]:
        h = nn.silu(nn.Dense(self.dim, dtype=self.dtype, name="linear_1")(h))
        return nn.Dense(self.dim, dtype=self.dtype, name="linear_2")(h)


class ResidualHarmonizer(nn.Module):
    """The harmonizer as a residual: exactly its input at initialisation (eq. 2)."""

    fusion: str = "gated"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "b s s c"],
        temb: Float[Array, "b k"],
        condition: Condition,
    ) -> Float[Array, "b s s c"]:
        harmonizer = Harmonizer(self.fusion, dtype=self.dtype, name="iglh")
        inner = harmonizer(h, temb, condition)
        return h + (inner - rms_norm(h.astype(self.dtype)))


class StableUNet(nn.Module):
    """UNet2DConditionModel. Predicts what its checkpoint was trained for.

    Args (from config.model):
      dims: width at each level; level i works at 1 / 2^i of the latent's size.
      depths: residual blocks a level on the way down; one more on the way up.
      heads: attention heads a level, and of the middle as of the last level.
      attention_levels: levels that attend, besides the middle.
      groups: of the group normalisation.
      fusion: of the harmonizers, one of `harmonizer.FUSIONS`.
      kernel: of the attention, see `attention.attend`.
      remat: "none", "full" or "dots": what the backward pass recomputes, block by
        block.
    """

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    attention_levels: tuple[int, ...]
    groups: int = 32
    fusion: str = "gated"
    kernel: str = "auto"
    remat: str = "none"
    dtype: DTypeLike = jnp.float32

    def _resnet(self, features, name):
        block = rematerialised(ResnetBlock, self.remat)
        return block(features, self.groups, EPSILON, dtype=self.dtype, name=name)

    def _transformer(self, heads, name):
        block = rematerialised(SpatialTransformer, self.remat)
        return block(heads, self.groups, self.kernel, dtype=self.dtype, name=name)

    def _layer(self, x, level: int, name: str, i: int, temb, context):
        """Residual block i of a level, and its transformer where the level attends."""
        x = self._resnet(self.dims[level], f"{name}_resnets_{i}")(x, temb)
        if level in self.attention_levels:
            transformer = self._transformer(self.heads[level], f"{name}_attentions_{i}")
            x = transformer(x, context)
        return x

    def _harmonize(self, x, temb, condition, name: str):
        if condition is None:
            return x
        block = rematerialised(ResidualHarmonizer, self.remat)
        return block(self.fusion, dtype=self.dtype, name=name)(x, temb, condition)

    def _middle(self, x, temb, context):
        x = self._resnet(self.dims[-1], "mid_block_resnets_0")(x, temb)
        x = self._transformer(self.heads[-1], "mid_block_attentions_0")(x, context)
        return self._resnet(self.dims[-1], "mid_block_resnets_1")(x, temb)

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h h c"],
        step: Float[Array, " b"],
        context: Float[Array, "b m d"],
        known: Float[Array, "b h h k"] | None = None,
        condition: Condition | None = None,
    ) -> Float[Array, "b h h c"]:
        """Returns the prediction, float32.

        Args:
          x: noisy latents.
          step: numbers of the noise levels, 0 to 999.
          context: tokens to attend to.
          known: extra input channels [mask, z_m]; None leaves eq. 1's second term out.
          condition: for the harmonizers; None leaves them out.
        """
        temb = step_embedding(step, self.dims[0]).astype(self.dtype)
        temb = TimeEmbedding(4 * self.dims[0], self.dtype, name="time_embedding")(temb)
        context = context.astype(self.dtype)
        channels, last = x.shape[-1], len(self.dims) - 1
        x = conv3(self.dims[0], self.dtype, "conv_in")(x)
        if known is not None:
            x = x + self._known(known)
        skips = [x]
        for level in range(last + 1):
            name = f"down_blocks_{level}"
            for i in range(self.depths[level]):
                x = self._layer(x, level, name, i, temb, context)
                if i == self.depths[level] - 1:
                    x = self._harmonize(x, temb, condition, f"harmonizer_down_{level}")
                skips.append(x)
            if level < last:
                name = f"{name}_downsamplers_0"
                x = Downsample((1, 1), dtype=self.dtype, name=name)(x)
                skips.append(x)
        x = self._middle(x, temb, context)
        x = self._harmonize(x, temb, condition, "harmonizer_middle")
        for block, level in enumerate(reversed(range(last + 1))):
            name = f"up_blocks_{block}"
            for i in range(self.depths[level] + 1):
                x = jnp.concatenate([x, skips.pop()], axis=-1)
                x = self._layer(x, level, name, i, temb, context)
            x = self._harmonize(x, temb, condition, f"harmonizer_up_{level}")
            if level > 0:
                x = Upsample(dtype=self.dtype, name=f"{name}_upsamplers_0")(x)
        x = nn.silu(group_norm(self.groups, EPSILON, self.dtype, "conv_norm_out")(x))
        return conv3(channels, self.dtype, "conv_out")(x).astype(jnp.float32)

    def _known(self, known):
        return nn.Conv(
            self.dims[0],
            (3, 3),
            padding=1,
            use_bias=False,
            kernel_init=nn.initializers.zeros,
            dtype=self.dtype,
            name="conv_in_known",
        )(known)


class Tokens(nn.Module):
    """Our condition as tokens for cross-attention (eq. 3), of unit RMS.

    Args:
      dim: length of a token.
      num_identity: tokens made of the identity vector.
      attribute_grid: the attribute map is brought to this many cells on each axis;
        each cell is a token, with a learned position.
    """

    dim: int
    num_identity: int
    attribute_grid: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, condition: Condition) -> Float[Array, "b m d"]:
        width = self.num_identity * self.dim
        who = nn.Dense(width, dtype=self.dtype, name="identity")(condition.identity)
        who = rearrange(who, "b (n d) -> b n d", d=self.dim)
        grid = resize_map(condition.attributes, self.attribute_grid)
        what = nn.Dense(self.dim, dtype=self.dtype, name="attributes")(grid)
        what = rearrange(what, "b h w d -> b (h w) d")
        where = self.param(
            "position", nn.initializers.normal(0.02), (what.shape[1], self.dim)
        )
        tokens = jnp.concatenate([who, what + where.astype(self.dtype)], axis=1)
        return rms_norm(tokens)


class TokenUNet(nn.Module):
    """`StableUNet` behind the call of `id2face.ID2Face.denoise`.

    Args:
      stable: the network.
      token_dim, identity_tokens, attribute_grid: of `Tokens`.
    """

    stable: StableUNet
    token_dim: int
    identity_tokens: int
    attribute_grid: int

    @nn.compact
    def __call__(
        self,
        zt: Float[Array, "b h h c"],
        zm: Float[Array, "b h h c"],
        mask: Float[Array, "b h h 1"],
        t: Float[Array, " b"],
        condition: Condition,
    ) -> Float[Array, "b h h c"]:
        tokens = Tokens(
            self.token_dim,
            self.identity_tokens,
            self.attribute_grid,
            dtype=self.stable.dtype,
            name="tokens",
        )(condition)
        known = jnp.concatenate([mask, zm], axis=-1)
        return self.stable(zt, discrete.timestep(t), tokens, known, condition)
