"""The autoencoder: aligned face crop <-> latent grid, a factor of 8 smaller.

Owns E and D of the method. Design (ours): E is a fixed transform, D is learned.

E cuts the picture into 8x8 cells, turns RGB into an orthonormal opponent colour
space and keeps the `latent_channels` strongest coefficients of each cell's orthonormal
DCT-II, in an order measured on faces. On 128 px LFW crops 24 of the 192 coefficients
keep 35.5 dB of PSNR; a learned encoder of the same latent size reached 26 dB after
the same minutes of two cores that this one needs none of. A fixed E has two more
gains: the latent space never moves, so D can be improved under a trained UNet, and
the statistics of z are known.

    (1)  z_k = (c_k - mean_k) / var_k^(1/4) / NORM          c_k a DCT coefficient
    (2)  D(z) = IDCT(c) + net(z)                            net = 0 at initialisation

The fourth root in (1) lies between pixels (strong means would drown the detail that
makes a face) and whitening (detail that no model can predict would drown the rest).
NORM brings the mean variance of all channels to one.
"""

import jax.numpy as jnp
import numpy as np
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

# (vertical frequency, horizontal frequency, colour, variance) of the coefficients, by
# variance on 3,000 LFW train faces at 128 px, pixels in [-1, 1].
_COEFFICIENTS = (
    (0, 0, 0, 40.3),
    (0, 0, 1, 3.46),
    (0, 1, 0, 2.38),
    (1, 0, 0, 1.92),
    (0, 2, 0, 0.459),
    (1, 1, 0, 0.439),
    (0, 0, 2, 0.437),
    (2, 0, 0, 0.391),
    (1, 2, 0, 0.159),
    (2, 1, 0, 0.147),
    (0, 3, 0, 0.123),
    (0, 1, 1, 0.120),
    (3, 0, 0, 0.110),
    (1, 0, 1, 0.0894),
    (2, 2, 0, 0.0677),
    (1, 3, 0, 0.0560),
    (3, 1, 0, 0.0489),
    (0, 4, 0, 0.0414),
    (4, 0, 0, 0.0371),
    (2, 3, 0, 0.0286),
    (3, 2, 0, 0.0266),
    (1, 4, 0, 0.0211),
    (0, 1, 2, 0.0186),
    (4, 1, 0, 0.0185),
)
# Means of the three zero-frequency coefficients there; the others' are zero.
_MEANS = (-2.48, 1.42, -0.14)
_COLORS = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])


def _transform(channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(basis (192, channels), mean (channels,), scale (channels,)) of eq. 1."""
    if not 1 <= channels <= len(_COEFFICIENTS):
        raise ValueError(
            f"autoencoder.latent_channels is {channels}; the transform has 1 to "
            f"{len(_COEFFICIENTS)} channels"
        )
    grid = (np.arange(FACTOR) + 0.5) * np.pi / FACTOR
    dct = np.cos(np.arange(FACTOR)[:, None] * grid) * np.sqrt(2 / FACTOR)
    dct[0] /= np.sqrt(2)
    rows = [
        np.einsum("i,j,c->ijc", dct[u], dct[v], _COLORS[c]).reshape(-1)
        for u, v, c, _ in _COEFFICIENTS[:channels]
    ]
    mean = np.zeros(channels)
    for k, (u, v, c, _) in enumerate(_COEFFICIENTS[:channels]):
        if u == v == 0:
            mean[k] = _MEANS[c]
    root = np.array([variance for *_, variance in _COEFFICIENTS[:channels]]) ** 0.5
    scale = np.sqrt(root * root.mean())
    return tuple(x.astype(np.float32) for x in (np.stack(rows, 1), mean, scale))


def analyse(x: Float[Array, "b s s 3"], channels: int) -> Float[Array, "b h h c"]:
    """E: images in [-1, 1] to latents (b, s/8, s/8, channels), float32 (eq. 1)."""
    basis, mean, scale = _transform(channels)
    return (space_to_depth(x.astype(jnp.float32), FACTOR) @ basis - mean) / scale


def synthesise(z: Float[Array, "b h h c"]) -> Float[Array, "b s s 3"]:
    """The image whose kept coefficients are z and whose others are zero."""
    basis, mean, scale = _transform(z.shape[-1])
    return depth_to_space((z * scale + mean) @ basis.T, FACTOR)


class Decoder(nn.Module):
    """What the inverse transform lacks: (b, h, h, c) to (b, 8h, 8h, 3); zero at start.

    A dense-heavy pyramid: blocks at 1/8 of the image's size, at 1/4, and an
    overlapping-patch output, which can smooth the borders of cells.
    """

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
        zeros = nn.initializers.zeros
        patches = nn.Dense(8 * 8 * 3, kernel_init=zeros, name="to_pixels")(rms_norm(h))
        return overlap_add(patches.astype(jnp.float32), 4)


class Autoencoder(nn.Module):
    """E and D. Only D has parameters: `decoder`.

    Args (from config.autoencoder):
      latent_channels: coefficients kept of each cell, at most 24.
      dims: widths of the decoder at 1/4 and at 1/8 of the image's size.
      depths: blocks at 1/4 and at 1/8.
    """

    latent_channels: int
    dims: tuple[int, int]
    depths: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    factor = FACTOR  # pixels of the image to a cell of the latent, on each axis

    def setup(self):
        self.decoder = Decoder(self.dims, self.depths, dtype=self.dtype)

    def encode(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b h h c"]:
        """Latent of images in [-1, 1]; the size must be a multiple of 8."""
        if x.shape[1] % FACTOR or x.shape[2] % FACTOR:
            raise ValueError(
                f"image is {x.shape[1]}x{x.shape[2]} px; the autoencoder needs "
                f"multiples of {FACTOR}"
            )
        return analyse(x, self.latent_channels)

    def decode(self, z: Float[Array, "b h h c"]) -> Float[Array, "b s s 3"]:
        """Images, nominally in [-1, 1], of latents (eq. 2)."""
        return synthesise(z) + self.decoder(z)

    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
        return self.decode(self.encode(x))
