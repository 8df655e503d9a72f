"""What the converted face recognizers share: folding, checking, building.

Owns the arithmetic of folded batch normalisations and the config of a recognizer. The
walks through the files are in `insightface` and `mobilefacenet`. A converted network
takes exactly the input that its source took.

A batch normalisation at use is scale x + bias (float64 here, so that folding adds no
error of its own):

    (1)  scale = weight / sqrt(var + eps),  bias = shift - mean scale
    (2)  behind a layer:  kernel' = scale kernel,  bias' = scale bias + bias_n
    (3)  before a dense:  kernel' = kernel diag(scale),  bias' = kernel bias_n + bias
"""

import dataclasses
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import linen as nn

from id2face_jax.convert import matching
from id2face_jax.faces.pixels import pixel_form
from id2face_jax.models import build

SIZE = 112  # pixels of an aligned face
# What insightface's networks want to see; a file may say otherwise of its pixels.
ARCFACE_VIEW = {
    "size": SIZE,
    "units": 112.0,
    "center": (56.0, 56.0),
    "channels": "RGB",
    "mean": (127.5,) * 3,
    "std": (127.5,) * 3,
}
EPSILON = 1e-5  # of insightface's batch normalisations


def onnx_view(path: pathlib.Path) -> dict:
    """config.view of an ArcFace-like ONNX file, see `faces.pixels`."""
    return ARCFACE_VIEW | dataclasses.asdict(pixel_form(path))


def _check(network: nn.Module, tensors: Mapping[str, np.ndarray], where: str):
    """`tensors`, by our own paths and in PyTorch's layout, as the network's tree."""
    face = jnp.zeros((1, SIZE, SIZE, 3))
    expected = jax.eval_shape(network.init, jax.random.key(0), face)["params"]
    return matching.fill(expected, tensors, lambda path: path, where)


def affine(weight, shift, mean, var, epsilon) -> tuple[np.ndarray, np.ndarray]:
    """(scale, bias) of a batch normalisation (eq. 1)."""
    weight, shift, mean, var = (
        np.asarray(x, np.float64) for x in (weight, shift, mean, var)
    )
    scale = weight / np.sqrt(var + epsilon)
    return scale, shift - mean * scale


def fold_behind(kernel, bias, norm):
    """(kernel, bias) of a layer and the normalisation behind it (eq. 2).

    kernel: output channels first. norm: of `affine`.
    """
    scale, shift = norm
    wide = scale.reshape(-1, *(1,) * (kernel.ndim - 1))
    return kernel * wide, bias * scale + shift


def _channels_last(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A dense kernel (O, c h w) reordered for inputs flattened as (h w c)."""
    grid = kernel.reshape(kernel.shape[0], channels, -1)
    return grid.transpose(0, 2, 1).reshape(kernel.shape)


def head(kernel, bias, before) -> dict[str, np.ndarray]:
    """The last dense layer, for channels last, with the normalisation before it (3).

    kernel: (dim, c h w). before: of `affine`, over the c channels.
    """
    scale, shift = before
    cells = kernel.shape[1] // scale.size
    bias = kernel @ np.repeat(shift, cells) + bias
    kernel = kernel * np.repeat(scale, cells)
    return {"kernel": _channels_last(kernel, scale.size), "bias": bias}


def _flat(tree: Mapping, prefix: str = "") -> dict[str, np.ndarray]:
    leaves = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        leaves |= _flat(value, path + "/") if isinstance(value, dict) else {path: value}
    return leaves


def finish(fields: dict, tree: dict, where: str, view: dict):
    """(config, parameters) of a walk through a file.

    Args:
      fields: config.recognizer, see `build.make_recognizer`.
      tree: tensors by our names, in PyTorch's layout.
      where: the file, for messages.
      view: config.view, what it wants to see: the fields of `crops.View`.

    Raises ValueError, by name, for tensors that do not fit together.
    """
    whole = ml_collections.ConfigDict(
        {"task": "recognizer", "recognizer": fields, "view": view}
    )
    return whole, _check(build.make_recognizer(whole), _flat(tree), where)
