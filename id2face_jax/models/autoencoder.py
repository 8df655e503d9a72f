"""The autoencoder: aligned face crop <-> latent grid, a factor of 8 or 10 smaller.

Owns E and D of the method. Design (ours): E is a fixed transform, D is learned.

E cuts the picture into square cells, turns RGB into an orthonormal opponent color
space and keeps the `latent_channels` strongest coefficients of each cell's orthonormal
DCT-II, in an order measured on faces. On 128 px LFW crops 24 of the 192 coefficients
of an 8x8 cell keep 35.5 dB of PSNR; a learned encoder of the same latent size reached
26 dB after the same minutes of two cores that this one needs none of. A fixed E has two
more gains: the latent space never moves, so D can be improved under a trained UNet, and
the statistics of z are known.

    (1)  z_k = (c_k - mean_k) / var_k^(1/4) / NORM          c_k a DCT coefficient
    (2)  D(z) = IDCT(c) + net(z)                            net = 0 at initialisation

The fourth root in (1) lies between pixels (strong means would drown the detail that
makes a face) and whitening (detail that no model can predict would drown the rest).
NORM brings the mean variance of all channels to one.
"""

import dataclasses

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


@dataclasses.dataclass(frozen=True)
class _Table:
    """What E keeps of a cell, strongest first.

    Attributes:
      coefficients: (vertical frequency, horizontal frequency, color, variance).
      means: of the three zero-frequency coefficients; the others' are zero.
    """

    coefficients: tuple[tuple[int, int, int, float], ...]
    means: tuple[float, float, float]


# By side of a cell in pixels; pixels in [-1, 1].
_TABLES = {
    # The whole crop of 3,000 LFW train faces at 128 px, 160 units.
    8: _Table(
        (
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
        ),
        (-2.48, 1.42, -0.14),
    ),
    # Inside the face mask of 3,000 train faces of all sets at 160 px, 136 units.
    10: _Table(
        (
            (0, 0, 0, 37.2),
            (1, 0, 0, 2.91),
            (0, 1, 0, 2.85),
            (0, 0, 1, 2.72),
            (2, 0, 0, 0.725),
            (1, 1, 0, 0.57),
            (0, 2, 0, 0.547),
            (0, 0, 2, 0.4),
            (3, 0, 0, 0.223),
            (2, 1, 0, 0.22),
            (1, 2, 0, 0.206),
            (0, 3, 0, 0.154),
            (0, 1, 1, 0.149),
            (1, 0, 1, 0.104),
            (2, 2, 0, 0.0973),
            (3, 1, 0, 0.0856),
            (1, 3, 0, 0.0771),
            (4, 0, 0, 0.0758),
            (0, 4, 0, 0.0565),
            (3, 2, 0, 0.0436),
            (2, 3, 0, 0.0427),
            (4, 1, 0, 0.0359),
            (1, 4, 0, 0.0324),
            (5, 0, 0, 0.0302),
            (0, 5, 0, 0.0224),
            (3, 3, 0, 0.0216),
            (0, 1, 2, 0.021),
            (4, 2, 0, 0.0205),
            (2, 4, 0, 0.0198),
            (1, 0, 2, 0.0191),
            (0, 2, 1, 0.0177),
            (1, 1, 1, 0.0173),
        ),
        (-0.83, 3.16, -0.55),
    ),
}
_COLORS = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]]) / np.sqrt([[3], [2], [6]])


def _table(factor: int, channels: int) -> _Table:
    """The first `channels` rows of the table for cells of `factor` pixels."""
    if factor not in _TABLES:
        raise ValueError(
            f"autoencoder.factor is {factor}; use one of {sorted(_TABLES)} pixels"
        )
    table = _TABLES[factor]
    most = len(table.coefficients)
    if not 1 <= channels <= most:
        raise ValueError(
            f"autoencoder.latent_channels is {channels}; with autoencoder.factor="
            f"{factor} the transform has 1 to {most} channels"
        )
    return dataclasses.replace(table, coefficients=table.coefficients[:channels])


def _scales(table: _Table) -> tuple[np.ndarray, np.ndarray]:
    """(what a coefficient is divided by in eq. 1, standard deviations after that)."""
    root = np.array([row[3] for row in table.coefficients]) ** 0.5
    scale = np.sqrt(root * root.mean())
    return scale.astype(np.float32), (root / scale).astype(np.float32)


def _transform(factor: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(basis (3 factor^2, channels), mean (channels,), scale (channels,)) of eq. 1."""
    table = _table(factor, channels)
    grid = (np.arange(factor) + 0.5) * np.pi / factor
    dct = np.cos(np.arange(factor)[:, None] * grid) * np.sqrt(2 / factor)
    dct[0] /= np.sqrt(2)
    rows, mean = [], np.zeros(channels, np.float32)
    for k, (u, v, c, _) in enumerate(table.coefficients):
        rows.append(np.einsum("i,j,c->ijc", dct[u], dct[v], _COLORS[c]).reshape(-1))
        if u == v == 0:
            mean[k] = table.means[c]
    return np.stack(rows, 1).astype(np.float32), mean, _scales(table)[0]


def sigma_data(factor: int, channels: int) -> Float[np.ndarray, " c"]:
    """Standard deviation of each channel of z over faces, by eq. 1."""
    return _scales(_table(factor, channels))[1]


def analyze(
    x: Float[Array, "b s s 3"], factor: int, channels: int
) -> Float[Array, "b h h c"]:
    """E: images in [-1, 1] to latents (b, s/factor, s/factor, channels) (eq. 1)."""
    basis, mean, scale = _transform(factor, channels)
    return (space_to_depth(x.astype(jnp.float32), factor) @ basis - mean) / scale


def synthesize(z: Float[Array, "b h h c"], factor: int) -> Float[Array, "b s s 3"]:
    """The image whose kept coefficients are z and whose others are zero."""
    basis, mean, scale = _transform(factor, z.shape[-1])
    return depth_to_space((z * scale + mean) @ basis.T, factor)


class Decoder(nn.Module):
    """What the inverse transform lacks: (b, h, h, c) to (b, f h, f h, 3), first zero.

    A dense-heavy pyramid: blocks on the latent's grid, on one twice as fine, and an
    overlapping-patch output, which can smooth the borders of cells.

    factor: f, even: pixels to a cell.
    """

    factor: int
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
        patches = nn.Dense(3 * self.factor**2, kernel_init=zeros, name="to_pixels")
        half = self.factor // 2
        return overlap_add(patches(rms_norm(h)).astype(jnp.float32), half)


class Autoencoder(nn.Module):
    """E and D. Only D has parameters: `decoder`.

    Args (from config.autoencoder):
      latent_channels: coefficients kept of each cell.
      dims: widths of the decoder on a grid twice as fine as the latent's, and on it.
      depths: blocks there.
      factor: pixels of the image to a cell of the latent, on each axis.
    """

    latent_channels: int
    dims: tuple[int, int]
    depths: tuple[int, int]
    factor: int = 8
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.decoder = Decoder(self.factor, self.dims, self.depths, dtype=self.dtype)

    @property
    def sigma_data(self) -> Float[np.ndarray, " c"]:
        """Standard deviation of each latent channel over faces."""
        return sigma_data(self.factor, self.latent_channels)

    def encode(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b h h c"]:
        """Latent of images in [-1, 1]; the size must be a multiple of `factor`."""
        if x.shape[1] % self.factor or x.shape[2] % self.factor:
            raise ValueError(
                f"image is {x.shape[1]}x{x.shape[2]} px; the autoencoder needs "
                f"multiples of {self.factor}"
            )
        return analyze(x, self.factor, self.latent_channels)

    def decode(self, z: Float[Array, "b h h c"]) -> Float[Array, "b s s 3"]:
        """Images, nominally in [-1, 1], of latents (eq. 2)."""
        return synthesize(z, self.factor) + self.decoder(z)

    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b s s 3"]:
        return self.decode(self.encode(x))
