"""Recognizers: faces to unit vectors whose cosine tells people apart.

Owns the protocol and two recognizers: dlib's ResNet (the default,
centered and whitened), and any ArcFace-like ONNX file of the user. A recognizer is part
of what a model was trained on, so its `name` changes whenever its vectors do. Leaves
the fit of the whitening to `whitening`.
"""

import functools
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.compiling import inference_options
from id2face_jax.faces import align, dlib_file, pixels, whitening
from id2face_jax.faces.onnx_session import make_session
from id2face_jax.models.recognizers import dlib_resnet

# Faces go through the network in blocks of these sizes, so that it compiles twice at
# most: few faces at little cost (two: a changed face is looked at where it was and
# where it is now), many at the best rate.
_FEW, _MANY = 2, 32

# Cosine of the same person, in ArcFace networks on unconstrained photos, at a false
# accept rate near 0.1 %. Chosen, not measured: it depends on the file. Low is strict.
_ARCFACE_THRESHOLD = 0.25


@runtime_checkable  # so that annotations are checked in tests
class Recognizer(Protocol):
    """What the product asks of a recognizer.

    Attributes:
      name: changes whenever the vectors do.
      dim: their length.
      threshold: two vectors with a higher cosine show one person; false accept rate
        0.1 % among different people.
    """

    name: str
    dim: int
    threshold: float

    def __call__(
        self,
        images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
        landmarks: Float[np.ndarray, "n 5 2"],
    ) -> Float[np.ndarray, "n d"]:
        """Unit vectors, float32, of the face at landmarks[i] in images[i] (RGB).

        The images are photos or aligned crops, of any size, points in their pixels.
        """
        ...


class DlibNetwork:
    """dlib's ResNet: raw vectors (n, 128), not centered, of faces in images.

    A vector is the mean over the face and its mirror image: 93.9 % of pairs of one
    person found at a false accept rate of 0.1 %, against 92.7 % without (two photos
    each of LFW's train people), and flipped training images keep their identity.
    """

    def __init__(self):
        params = jax.tree.map(jnp.asarray, dlib_file.load_params())
        embed = jax.jit(_embed_views, compiler_options=inference_options())
        self._embed = functools.partial(embed, params)

    def __call__(
        self,
        images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
        landmarks: Float[np.ndarray, "n 5 2"],
    ) -> Float[np.ndarray, "n d"]:
        """Raw vectors, float32; arguments as for `Recognizer`."""
        if not len(images):
            return np.zeros((0, dlib_resnet.DIM), np.float32)
        views = np.stack(
            [dlib_view(*face) for face in zip(images, landmarks, strict=True)]
        )
        block = _MANY if len(views) >= _MANY else _FEW
        padded = np.resize(views, (-(-len(views) // block) * block, *views.shape[1:]))
        parts = [
            np.asarray(self._embed(padded[start : start + block]))
            for start in range(0, len(padded), block)
        ]
        return np.concatenate(parts)[: len(views)]


class DlibRecognizer:
    """dlib's ResNet, centered and whitened; see `Recognizer`."""

    def __init__(self):
        self._network, self._whitening = DlibNetwork(), whitening.load()
        self.name = self._whitening.name
        self.dim = self._whitening.matrix.shape[1]
        self.threshold = self._whitening.threshold

    def __call__(
        self,
        images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
        landmarks: Float[np.ndarray, "n 5 2"],
    ) -> Float[np.ndarray, "n d"]:
        """Unit vectors, float32."""
        return self._whitening(self._network(images, landmarks))


def dlib_view(
    image: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "5 2"]
) -> UInt8[np.ndarray, "150 150 3"]:
    """The view of a face that dlib's network wants."""
    size = dlib_resnet.VIEW
    to_crop = align.crop_matrix(landmarks, size)
    matrix = align.compose(dlib_resnet.view_matrix(size), to_crop)
    return align.crop(image, matrix, size)


def _embed_views(params, views):
    # Convolutions may otherwise run in bfloat16 or TF32 on accelerators, and vectors
    # would depend on the machine.
    with jax.default_matmul_precision("highest"):
        return dlib_resnet.embed_views(params, views.astype(jnp.float32))


class OnnxRecognizer:
    """An ArcFace-like ONNX network given by the user; see `Recognizer`.

    Expects (b, 3, 112, 112), pixels as `pixels` describes, on insightface's template,
    and one output (b, d), as its public files have. Many of them are for non-commercial
    research only.
    """

    threshold = _ARCFACE_THRESHOLD

    def __init__(self, path: str | pathlib.Path):
        path = pathlib.Path(path)
        data = path.read_bytes()
        self._form = pixels.pixel_form(path)
        self.name = f"onnx-{hashlib.sha256(data).hexdigest()[:8]}"
        self._session = make_session(data, num_threads=None)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(outputs) != 1 or shape[1:] != [3, 112, 112]:
            raise ValueError(
                f"{path} takes {[i.shape for i in inputs]} and gives "
                f"{[o.shape for o in outputs]}; expected one input (b, 3, 112, 112) "
                "and one output (b, d), as in insightface's w600k_r50.onnx"
            )
        self._input = inputs[0].name
        self._batches = shape[0] != 1  # many files are fixed to one face at a time
        self.dim = self._run(np.zeros((1, 3, 112, 112), np.float32)).shape[1]

    def __call__(
        self,
        images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
        landmarks: Float[np.ndarray, "n 5 2"],
    ) -> Float[np.ndarray, "n d"]:
        """Unit vectors, float32."""
        if not len(images):
            return np.zeros((0, self.dim), np.float32)
        views = np.stack(
            [_arcface_view(*face) for face in zip(images, landmarks, strict=True)]
        )
        inputs = self._form(views)
        block = _MANY if self._batches else 1
        raw = np.concatenate(
            [self._run(inputs[i : i + block]) for i in range(0, len(inputs), block)]
        )
        return raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-6)

    def _run(self, inputs: Float[np.ndarray, "b 3 112 112"]) -> np.ndarray:
        return self._session.run(None, {self._input: np.ascontiguousarray(inputs)})[0]


# Crop of 112 pixels -> the plain 112-pixel template: undo the margin (align, eq. 1).
_MARGIN = np.array([[160 / 112, 0.0, 56 - 80], [0.0, 160 / 112, 64 - 80]])


def _arcface_view(
    image: UInt8[np.ndarray, "h w 3"], landmarks: Float[np.ndarray, "5 2"]
) -> UInt8[np.ndarray, "112 112 3"]:
    to_crop = align.crop_matrix(landmarks, 112)
    return align.crop(image, align.compose(_MARGIN, to_crop), 112)


def make_recognizer(spec: str) -> Recognizer:
    """The recognizer that a user names: "dlib", or the path of an ONNX file.

    Raises:
      ValueError: neither.
    """
    if spec == "dlib":
        return DlibRecognizer()
    path = pathlib.Path(spec)
    if path.suffix == ".onnx" and path.is_file():
        return OnnxRecognizer(path)
    raise ValueError(
        f"recognizer is {spec!r}; expected `dlib` or the path of an .onnx file"
    )
