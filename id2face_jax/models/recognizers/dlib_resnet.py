"""dlib's face recognition ResNet in Flax, on dlib's own weights (public domain).

Owns the network of `dnn_face_recognition_ex.cpp` (King 2017) and the fixed affine map
from our aligned crop to the view it wants. Everything from the crop on is JAX, so an
identity loss can be taken through it. Its vectors are not centered; `whiten` is the map
that makes cosines of them mean something. Leaves fitting that map to `faces.whitening`,
and reading the weights to `faces.dlib_file`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from id2face_jax.models.recognizers.crops import resample

DIM, VIEW = 128, 150  # length of the raw vectors; side of the view, pixels
# Channels, and whether the block halves the map, from input to output.
BLOCKS = (
    *[(32, False)] * 3,
    (64, True),
    *[(64, False)] * 3,
    (128, True),
    *[(128, False)] * 2,
    (256, True),
    *[(256, False)] * 2,
    (256, True),
)
_MEAN = (122.782, 117.001, 104.298)
# dlib's face chip in units of the ArcFace template, x' = 1.4959 x + offset, fitted to
# chips of LFW photos (handbook, data.md).
_SCALE, _OFFSET = 1.4959, np.array([-8.143, -32.243])


class DlibBlock(nn.Module):
    """relu(conv2(relu(conv1 x)) + x); `down` halves the map and pads the shortcut."""

    channels: int
    down: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j k"]:
        if self.down:
            conv1 = nn.Conv(self.channels, (3, 3), 2, "VALID", name="conv1")
            shortcut = nn.avg_pool(x, (2, 2), (2, 2))
        else:
            conv1 = nn.Conv(self.channels, (3, 3), padding=1, name="conv1")
            shortcut = x
        conv2 = nn.Conv(self.channels, (3, 3), padding=1, name="conv2")
        return nn.relu(_padded_sum(conv2(nn.relu(conv1(x))), shortcut))


def _padded_sum(x: Float[Array, "b h w c"], y: Float[Array, "b i j k"]):
    """The sum of two maps, each zero-padded at the end to the larger shape."""
    shape = [max(sides) for sides in zip(x.shape, y.shape, strict=True)]

    def pad(a):
        return jnp.pad(a, [(0, to - of) for to, of in zip(shape, a.shape, strict=True)])

    return pad(x) + pad(y)


class DlibResNet(nn.Module):
    """The network: view to raw vector."""

    @nn.compact
    def __call__(self, x: Float[Array, "b 150 150 3"]) -> Float[Array, "b 128"]:
        """x: RGB in [0, 255]."""
        x = (x - jnp.asarray(_MEAN)) / 256.0
        x = nn.relu(nn.Conv(32, (7, 7), 2, "VALID", name="stem")(x))
        x = nn.max_pool(x, (3, 3), (2, 2))
        for index, (channels, down) in enumerate(BLOCKS):
            x = DlibBlock(channels, down, name=f"block{index}")(x)
        return nn.Dense(DIM, use_bias=False, name="head")(x.mean(axis=(1, 2)))


def view_matrix(
    size: int, units: float = 160.0, center: tuple[float, float] = (56.0, 64.0)
) -> Float[np.ndarray, "2 3"]:
    """The affine map from an aligned crop of `size` pixels to the view.

    units, center: what the crop shows of the template, see `faces.align.Geometry`.
    """
    scale = _SCALE * units / size
    offset = _SCALE * np.array(center) + _OFFSET - scale * size / 2
    return np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])


def embed_views(
    params: dict, views: Float[Array, "b 150 150 3"], mirror: bool = True
) -> Float[Array, "b 128"]:
    """Raw vectors of views in [0, 255]: the mean over each and its mirror image.

    mirror: False leaves the mirror image out, for half the work.
    """
    if not mirror:
        return DlibResNet().apply({"params": params}, views)
    # One batch of both: the network is compiled once.
    both = jnp.concatenate([views, views[:, :, ::-1]])
    raw = DlibResNet().apply({"params": params}, both)
    return jnp.mean(raw.reshape(2, len(views), DIM), axis=0)


def embed_crops(
    params: dict,
    crops: Float[Array, "b s s 3"],
    matrix: Float[np.ndarray, "2 3"] | None = None,
    mirror: bool = True,
) -> Float[Array, "b 128"]:
    """Raw vectors of aligned crops in [-1, 1]; differentiable.

    matrix: of `view_matrix`; None is that of the widest crops. mirror: as above.
    """
    matrix = view_matrix(crops.shape[1]) if matrix is None else matrix
    views = resample((crops + 1.0) * 127.5, matrix, VIEW)
    return embed_views(params, views, mirror)


def whiten(
    raw: Float[Array, "b d"], mean: Float[Array, " d"], matrix: Float[Array, "d e"]
) -> Float[Array, "b e"]:
    """Centred, mapped and on the unit sphere: vectors whose cosines compare people."""
    x = (raw - mean) @ matrix
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)
