"""Stable Diffusion's autoencoder: image <-> latent, KL or vector-quantised.

Owns E and D of the full scale, in the layout of diffusers' AutoencoderKL and VQModel
(CompVis' are the same networks under other names), so that public weights convert.
Same face to the rest of the code as `autoencoder.Autoencoder`.

    (1)  q(z | x) = N(mean, exp(logvar)), logvar kept in [-30, 20];  E(x) = scale mean
    (2)  D(z) = net(z / scale), from the nearest codebook vectors if quantised

E is the posterior's mean, without its noise: the same photo then has the same latent
at every step, and Stable Diffusion's posterior is narrow (a departure from its
training, which samples).
Source: Rombach et al. 2022, appendix G.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.stable_diffusion.layers import (
    Downsample,
    ResnetBlock,
    Upsample,
    attend_by_heads,
    conv3,
    group_norm,
)

EPSILON = 1e-6  # of every group normalisation here


class AttentionBlock(nn.Module):
    """Residual one-head self-attention over all positions.

    kernel: here and below, see `attention.attend`.
    """

    groups: int
    kernel: str = "auto"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        dim = x.shape[-1]

        def dense(name):
            return nn.Dense(dim, dtype=self.dtype, name=name)

        h = group_norm(self.groups, EPSILON, self.dtype, "group_norm")(x)
        h = h.reshape(h.shape[0], -1, dim)
        q, k, v = dense("to_q")(h), dense("to_k")(h), dense("to_v")(h)
        h = attend_by_heads(q, k, v, 1, self.kernel)
        return x + dense("to_out_0")(h).reshape(x.shape)


class _Pyramid(nn.Module):
    """What encoder and decoder share. Fields as in `StableAutoencoder`."""

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    attention_levels: tuple[int, ...]
    groups: int
    kernel: str
    dtype: DTypeLike

    def _level(self, x, level: int, depth: int, name: str):
        """`depth` residual blocks of the level's width, attending where asked."""
        for i in range(depth):
            x = self._resnet(self.dims[level], f"{name}_resnets_{i}")(x)
            if level in self.attention_levels:
                x = self._attention(f"{name}_attentions_{i}")(x)
        return x

    def _middle(self, x):
        x = self._resnet(x.shape[-1], "mid_block_resnets_0")(x)
        x = self._attention("mid_block_attentions_0")(x)
        return self._resnet(x.shape[-1], "mid_block_resnets_1")(x)

    def _out(self, x, channels: int):
        x = group_norm(self.groups, EPSILON, self.dtype, "conv_norm_out")(x)
        return conv3(channels, self.dtype, "conv_out")(nn.silu(x))

    def _resnet(self, features, name):
        return ResnetBlock(features, self.groups, EPSILON, dtype=self.dtype, name=name)

    def _attention(self, name):
        return AttentionBlock(self.groups, self.kernel, dtype=self.dtype, name=name)


class Encoder(_Pyramid):
    """Image to (b, h, h, channels), before the 1x1 `quant_conv`."""

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b h h c"]:
        x = conv3(self.dims[0], self.dtype, "conv_in")(x.astype(self.dtype))
        for level, depth in enumerate(self.depths):
            x = self._level(x, level, depth, f"down_blocks_{level}")
            if level < len(self.dims) - 1:
                name = f"down_blocks_{level}_downsamplers_0"
                x = Downsample((0, 1), dtype=self.dtype, name=name)(x)
        return self._out(self._middle(x), self.channels)


class Decoder(_Pyramid):
    """(b, h, h, c), behind the 1x1 `post_quant_conv`, to the image, float32."""

    @nn.compact
    def __call__(self, z: Float[Array, "b h h c"]) -> Float[Array, "b s s 3"]:
        x = conv3(self.dims[-1], self.dtype, "conv_in")(z)
        x = self._middle(x)
        for block, level in enumerate(reversed(range(len(self.dims)))):
            name = f"up_blocks_{block}"
            x = self._level(x, level, self.depths[level] + 1, name)
            if level > 0:
                x = Upsample(dtype=self.dtype, name=f"{name}_upsamplers_0")(x)
        return self._out(x, 3).astype(jnp.float32)


class StableAutoencoder(nn.Module):
    """E and D under one tree of parameters; see the module's equations.

    Args (from config.autoencoder):
      latent_channels: channels of z.
      dims: width at each level; level i works at 1 / 2^i of the image's size.
      depths: residual blocks a level on the way down; one more on the way up.
      scale: what the mean is multiplied by, so that z has about unit variance.
      codebook: vectors of the quantiser; 0 is the KL autoencoder.
      attention_levels: levels that attend, besides the middle.
      groups: of the group normalisation.
      kernel: of the attention.
    """

    latent_channels: int
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    scale: float
    codebook: int = 0
    attention_levels: tuple[int, ...] = ()
    groups: int = 32
    kernel: str = "auto"
    dtype: DTypeLike = jnp.float32

    @property
    def factor(self) -> int:
        """Pixels of the image to a cell of the latent, on each axis."""
        return 2 ** (len(self.dims) - 1)

    @property
    def sigma_data(self) -> Float[np.ndarray, " c"]:
        """Standard deviation of each latent channel: `scale` brings all near 1."""
        return np.ones(self.latent_channels, np.float32)

    def setup(self):
        shape = (self.dims, self.depths, self.attention_levels, self.groups)
        inside = {"kernel": self.kernel, "dtype": self.dtype}
        moments = self.latent_channels * (1 if self.codebook else 2)
        self.encoder = Encoder(*shape, **inside, channels=moments)
        self.decoder = Decoder(*shape, **inside)
        # Latents and their moments stay float32: they are what the diffusion models.
        self.quant_conv = nn.Dense(moments)
        self.post_quant_conv = nn.Dense(self.latent_channels, dtype=self.dtype)
        if self.codebook:
            self.quantize = nn.Embed(self.codebook, self.latent_channels)

    def posterior(
        self, x: Float[Array, "b s s 3"]
    ) -> tuple[Float[Array, "b h h c"], Float[Array, "b h h c"]]:
        """(mean, logvar) of eq. 1, unscaled; logvar -30 throughout if quantised."""
        if x.shape[1] % self.factor or x.shape[2] % self.factor:
            raise ValueError(
                f"image is {x.shape[1]}x{x.shape[2]} px; the autoencoder needs "
                f"multiples of {self.factor}"
            )
        moments = self.quant_conv(self.encoder(x).astype(jnp.float32))
        if self.codebook:
            return moments, jnp.full(moments.shape, -30.0)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return mean, jnp.clip(logvar, -30.0, 20.0)

    def encode(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b h h c"]:
        """Latents of images in [-1, 1], float32 (eq. 1)."""
        mean, _ = self.posterior(x)
        return self.scale * mean

    def decode(self, z: Float[Array, "b h h c"]) -> Float[Array, "b s s 3"]:
        """Images, nominally in [-1, 1], of latents (eq. 2)."""
        z = z / self.scale
        if self.codebook:
            z = self._nearest(z)
        return self.decoder(self.post_quant_conv(z))

    def _nearest(self, z):
        table = self.quantize.embedding
        # |z - e|^2 without |z|^2, which is the same for every e.
        distance = jnp.sum(jnp.square(table), axis=-1) - 2.0 * z @ table.T
        return self.quantize(jnp.argmin(distance, axis=-1))

    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
        return self.decode(self.encode(x))
