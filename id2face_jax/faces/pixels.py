"""How an ONNX recognizer wants its pixels: channel order, mean and spread.

An ONNX file does not say. Owns the three places to look, in this order: a file beside
it, named FILE.onnx.json,

    {"channels": "RGB", "mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5]}

in pixel values of 0 to 255; a list of public files, by hash; and ArcFace's own form,
which is the one written above. `id2face evaluate` checks the channel order on
untouched photos.
"""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np
from jaxtyping import Float, UInt8


@dataclasses.dataclass(frozen=True)
class PixelForm:
    """Input = (pixels - mean) / std, channel by channel, in the order of `channels`."""

    channels: str = "RGB"
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)

    def __post_init__(self):
        if self.channels not in ("RGB", "BGR"):
            raise ValueError(f"channels is {self.channels!r}; expected RGB or BGR")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                f"mean {self.mean} and std {self.std}; expected three numbers each, in "
                "pixel values of 0 to 255, std above 0"
            )

    def __call__(
        self, views: UInt8[np.ndarray, "n h w 3"]
    ) -> Float[np.ndarray, "n 3 h w"]:
        """RGB pixels to the network's float32 input."""
        ordered = views if self.channels == "RGB" else views[..., ::-1]
        x = (ordered - np.float32(self.mean)) / np.float32(self.std)
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32)


ARCFACE = PixelForm()
_PLAIN = PixelForm(mean=(0.0,) * 3, std=(1.0,) * 3)
_IMAGENET = PixelForm(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
_KNOWN = {
    # mobilefacenet-ms1m.onnx and mobilefacenet-y1.onnx
    "b7120c095d60094f28a4a54ba6a8bf51b297a6273fb40ef6350dfec1f63d9507": _IMAGENET,
    "cbf9bf801d2f71672f0752612e9d9050235ab128930850075452e8cc62757cbe": _PLAIN,
}


def pixel_form(path: pathlib.Path) -> PixelForm:
    """The form of the ONNX file at `path`.

    Raises:
      ValueError: the file beside it does not say what it should.
    """
    beside = path.with_name(path.name + ".json")
    if not beside.is_file():
        return _KNOWN.get(hashlib.sha256(path.read_bytes()).hexdigest(), ARCFACE)
    try:
        fields = json.loads(beside.read_text())
        mean, std = (tuple(map(float, fields[name])) for name in ("mean", "std"))
        return PixelForm(fields["channels"], mean, std)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside} does not describe pixels ({error}); expected "
            '{"channels": "RGB" or "BGR", "mean": [r, g, b], "std": [r, g, b]}'
        ) from error
