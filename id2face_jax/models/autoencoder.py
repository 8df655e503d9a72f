"""The autoencoder: aligned face crop <-> latent grid, a factor of 8 smaller.

Owns E and D of the method. Design (ours): a convolution-free, dense-heavy pyramid
(space-to-depth 4, blocks, space-to-depth 2, blocks) and an overlapping-patch output.

The latent of each cell is scaled to unit RMS over its channels, a point on a sphere
of radius sqrt(c). So the latents have a known scale with no statistics to keep
beside the weights, the diffusion target is bounded, and a sampled latent can be put
back on the sphere before decoding.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.layers import (
    MixBlock,
    depth_to_space,
    overlap_add,
    rms_norm,
    space_to_depth,
)

FACTOR = 8


def to_sphere(z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """z with unit RMS over the channels of each cell (float32)."""
    z = z.astype(jnp.float32)
    return z / jnp.sqrt(jnp.mean(z * z, axis=-1, keepdims=True) + 1e-6)


class Encoder(nn.Module):
    """Image (b, s, s, 3) in [-1, 1] to latent (b, s/8, s/8, channels), unit RMS."""

    channels: int
    dims: tuple[int, int]
    depths: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b h h c"]:
        h = space_to_depth(x.astype(self.dtype), 4)
        h = nn.Conv(self.dims[0], (3, 3), dtype=self.dtype, name="stem")(h)
        for i in range(self.depths[0]):
            h = MixBlock(2.0, dtype=self.dtype, name=f"fine_{i}")(h)
        h = nn.Dense(self.dims[1], dtype=self.dtype, name="down")(space_to_depth(h, 2))
        for i in range(self.depths[1]):
            h = MixBlock(2.0, dtype=self.dtype, name=f"coarse_{i}")(h)
        z = nn.Dense(self.channels, dtype=jnp.float32, name="to_latent")(rms_norm(h))
        return to_sphere(z)


class Decoder(nn.Module):
    """Latent (b, h, h, c) to image (b, 8h, 8h, 3), float32, nominally [-1, 1]."""

    dims: tuple[int, int]
    depths: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b h h c"]) -> Float[Array, "b s s 3"]:
        h = nn.Conv(self.dims[1], (3, 3), dtype=self.dtype, name="from_latent")(z)
        for i in range(self.depths[1]):
            h = MixBlock(3.0, dtype=self.dtype, name=f"coarse_{i}")(h)
        h = nn.Dense(4 * self.dims[0], dtype=self.dtype, name="up")(h)
        h = depth_to_space(h, 2)
        for i in range(self.depths[0]):
            h = MixBlock(2.0, dtype=self.dtype, name=f"fine_{i}")(h)
        patches = nn.Dense(8 * 8 * 3, dtype=jnp.float32, name="to_pixels")(rms_norm(h))
        return overlap_add(patches, 4)


class Autoencoder(nn.Module):
    """E and D under one tree of parameters: `encoder` and `decoder`.

    Args (from config.autoencoder):
      latent_channels: channels of the latent.
      dims: widths at 1/4 and at 1/8 of the image's size.
      encoder_depths, decoder_depths: blocks at 1/4 and at 1/8.
    """

    latent_channels: int
    dims: tuple[int, int]
    encoder_depths: tuple[int, int]
    decoder_depths: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.encoder = Encoder(
            self.latent_channels, self.dims, self.encoder_depths, dtype=self.dtype
        )
        self.decoder = Decoder(self.dims, self.decoder_depths, dtype=self.dtype)

    def encode(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b h h c"]:
        """Latent of images in [-1, 1]; the size must be a multiple of 8."""
        if x.shape[1] % FACTOR or x.shape[2] % FACTOR:
            raise ValueError(
                f"image is {x.shape[1]}x{x.shape[2]} px; the autoencoder needs "
                f"multiples of {FACTOR}"
            )
        return self.encoder(x)

    def decode(self, z: Float[Array, "b h h c"]) -> Float[Array, "b s s 3"]:
        """Images, nominally in [-1, 1], of latents that are put on the sphere."""
        return self.decoder(to_sphere(z))

    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
        return self.decode(self.encode(x))
