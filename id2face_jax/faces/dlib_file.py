"""The weights of dlib's recognition network, out of its .dat file.

The file holds the tensors in network order, each behind dlib's header: a version, four
dimensions, every integer as a byte that counts its bytes and then those, little-endian.
"""

import importlib.util
import pathlib

import numpy as np

from id2face_jax.models.recognizers.dlib_resnet import BLOCKS, DIM


def weights_path() -> pathlib.Path:
    """The .dat file inside the face_recognition_models package.

    By path: that package imports pkg_resources, which new setuptools no longer has.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ValueError(
            "the recognizer's weights come with the package face_recognition_models, "
            "which is not installed; run `pip install -r requirements.txt`"
        )
    folder = pathlib.Path(spec.origin).parent / "models"
    return folder / "dlib_face_recognition_resnet_model_v1.dat"


def load_params(path: pathlib.Path | None = None) -> dict:
    """Parameters of `DlibResNet`, float32 numpy; path None is the package's file.

    In dlib every convolution is followed by a per-channel scale and shift; both are
    folded into the convolution here.

    Raises:
      ValueError: the file is not this network.
    """
    path = weights_path() if path is None else path
    reader = _Reader(path.read_bytes())
    try:
        params = {"stem": reader.conv(3, 32, 7)}
        width = 32
        for index, (channels, _) in enumerate(BLOCKS):
            params[f"block{index}"] = {
                "conv1": reader.conv(width, channels, 3),
                "conv2": reader.conv(channels, channels, 3),
            }
            width = channels
        params["head"] = {"kernel": reader.tensor(width, DIM).reshape(width, DIM)}
    except ValueError as error:
        raise ValueError(
            f"{path} is not dlib_face_recognition_resnet_model_v1.dat: {error}"
        ) from error
    return params


class _Reader:
    """Takes tensors off the file, front to back."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def tensor(self, *shape: int) -> np.ndarray:
        dims = (*shape, 1, 1, 1)[:4]
        header = b"\x01\x02" + b"".join(_dlib_int(dim) for dim in dims)
        found = self._data.find(header, self._at)
        start, count = found + len(header), int(np.prod(shape))
        self._at = start + 4 * count
        if found < 0 or self._at > len(self._data):
            raise ValueError(f"no tensor of shape {shape} where it should be")
        return np.frombuffer(self._data, "<f4", count, start).astype(np.float32)

    def conv(self, width: int, channels: int, side: int) -> dict:
        weights = width * channels * side * side
        values = self.tensor(weights + channels)
        scale, shift = np.split(self.tensor(2 * channels), 2)
        kernel = values[:weights].reshape(channels, width, side, side)
        return {
            "kernel": kernel.transpose(2, 3, 1, 0) * scale,
            "bias": values[weights:] * scale + shift,
        }


def _dlib_int(value: int) -> bytes:
    content = value.to_bytes((value.bit_length() + 7) // 8, "little")
    return bytes([len(content), *content])
