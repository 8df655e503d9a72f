"""Head pose and expression of faces whose boxes are known, by ONNX files."""

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.faces.onnx_session import make_session

EXPRESSIONS = (
    "neutral",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgusted",
    "surprised",
)


def square_views(
    images: UInt8[np.ndarray, "n s s 3"],
    boxes: Float[np.ndarray, "n 4"],
    grow: float,
    size: int,
) -> UInt8[np.ndarray, "n size size 3"]:
    """Square views around boxes grown by a factor; borders are mirrored."""
    views = []
    for image, (left, top, right, bottom) in zip(images, boxes, strict=True):
        side = max(right - left, bottom - top) * grow
        scale = size / side
        shift = size / 2 - scale * np.array([(left + right) / 2, (top + bottom) / 2])
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        views.append(
            cv2.warpAffine(
                image,
                matrix,
                (size, size),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
        )
    return np.stack(views)


def _one_by_one(session, x: Float[np.ndarray, "n c h w"]) -> np.ndarray:
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in x])


class PoseEstimator:
    """Head pose by FSA-Net files (one or several, averaged): yaw, pitch, roll."""

    def __init__(self, paths: Sequence[pathlib.Path]):
        self._sessions = [make_session(path.read_bytes()) for path in paths]

    def __call__(
        self, images: UInt8[np.ndarray, "n s s 3"], boxes: Float[np.ndarray, "n 4"]
    ) -> Float[np.ndarray, "n 3"]:
        """Degrees of each face; boxes as a detector gives them."""
        views = square_views(images, boxes, 1.3, 64)[..., ::-1].astype(np.float32)
        x = np.ascontiguousarray(((views - 127.5) / 128).transpose(0, 3, 1, 2))
        angles = [_one_by_one(session, x) for session in self._sessions]
        return np.mean(angles, axis=0)


class ExpressionClassifier:
    """Probabilities of EXPRESSIONS by an ONNX file."""

    def __init__(self, path: pathlib.Path):
        self._session = make_session(path.read_bytes())

    def __call__(
        self, images: UInt8[np.ndarray, "n s s 3"], boxes: Float[np.ndarray, "n 4"]
    ) -> Float[np.ndarray, "n 7"]:
        """One distribution a face; boxes as a detector gives them."""
        views = square_views(images, boxes, 1.1, 112).astype(np.float32)
        return _one_by_one(
            self._session, np.ascontiguousarray(views.transpose(0, 3, 1, 2))
        )
