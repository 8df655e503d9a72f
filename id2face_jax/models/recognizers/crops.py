"""A recognizer that looks at aligned crops, as a pure function of them.

Owns the way from a crop to what a network wants to see of it: a fixed map of pixels,
and the pixels' form. Differentiable, so an identity loss can be taken through it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class View:
    """What a recognizer wants to see.

    Attributes:
      size: pixels of a side.
      units, center: the square of the ArcFace template that it shows, see
        `faces.align.Geometry`.
      channels: "RGB" or "BGR".
      mean, std: the input is (pixels - mean) / std, pixels in [0, 255].
    """

    size: int
    units: float
    center: tuple[float, float]
    channels: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def matrix(
        self, size: int, units: float, center: tuple[float, float]
    ) -> Float[np.ndarray, "2 3"]:
        """The map to it from crops of `size` pixels that show `units` at `center`."""
        own = self.size / self.units
        scale = own * units / size
        offset = own * (np.array(center) - np.array(self.center))
        offset += self.size / 2 - scale * size / 2
        return np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])


def resample(
    crops: Float[Array, "b s s 3"], matrix: Float[np.ndarray, "2 3"], size: int
) -> Float[Array, "b v v 3"]:
    """Crops seen through `matrix` (a scale and a shift); same range, bilinear."""
    scale = jnp.asarray(matrix[[1, 0], [1, 0]], jnp.float32)
    # jax counts from pixel edges, our matrices from pixel centers.
    shift = jnp.asarray(
        matrix[::-1, 2] + 0.5 - 0.5 * np.diag(matrix)[::-1], jnp.float32
    )
    shape = (crops.shape[0], size, size, 3)
    return jax.image.scale_and_translate(crops, shape, (1, 2), scale, shift, "linear")


@dataclasses.dataclass(frozen=True)
class CropRecognizer:
    """A network, what it wants to see, and where that lies in our crops.

    Attributes:
      network: pixels as `view` describes to vectors.
      view: what it wants to see.
      matrix: of `View.matrix`, for our crops.
    """

    network: nn.Module
    view: View
    matrix: Float[np.ndarray, "2 3"]

    def raw(self, params: dict, crops: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
        """The network's own vectors of crops in [-1, 1]."""
        pixels = resample((crops + 1.0) * 127.5, self.matrix, self.view.size)
        if self.view.channels == "BGR":
            pixels = pixels[..., ::-1]
        mean, std = (
            jnp.asarray(x, jnp.float32) for x in (self.view.mean, self.view.std)
        )
        return self.network.apply({"params": params}, (pixels - mean) / std)

    def __call__(
        self, frozen: dict, crops: Float[Array, "b s s 3"]
    ) -> Float[Array, "b d"]:
        """Centered unit vectors. frozen: {"params", "mean"}, the mean of `raw`."""
        x = self.raw(frozen["params"], crops) - frozen["mean"]
        return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
