"""Faces that a picture's border cuts: a second, small detector.

CenterFace was trained on whole faces, and misses one in four of those of which the
border leaves a quarter to four fifths. This network (ours; studies/truncated_faces
trains and measures it) has seen such faces. It gives no points and is less sure than
CenterFace, so what it finds is a place that may show a face, to be blurred. Owns the
network's use.
"""

import importlib.resources

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from id2face_jax.faces.boxes import BORDER, suppress, touch_border
from id2face_jax.faces.detect import Detection
from id2face_jax.faces.onnx_session import make_session

# Long sides at which the network sees a picture: it knows faces of 14 to 64 pixels, and
# in larger views sees them where there are none. Chosen, like the threshold, on people
# held out from its training (docs/truncated_faces/table.md) and on scikit-image's
# pictures: at 0.4 a rocket's tip is a face, at 0.3 coins are.
_LONG_SIDES = (64, 96, 160)
THRESHOLD = 0.5
_STRIDE = 8
# Sides of a place, as a multiple of what the network says: then it holds nearly all of
# what is to be seen of a held-out face (docs/truncated_faces/table.md).
_GROWN = 1.3
# A filling (the black corners of a turned picture): differs by at most so many gray
# levels from its corner, and takes so large a share of a place that it cuts.
_UNIFORM = 8
_FILLED = 0.01
_FILLING_SIDE = 640  # where it is looked for; pixels


class TruncatedFaceDetector:
    """Callable; `detector(image)` gives where a cut face may be, largest first."""

    def __init__(self):
        model = importlib.resources.files("id2face_jax.faces") / "truncated.onnx"
        self._session = make_session(model.read_bytes())

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], threshold: float = THRESHOLD
    ) -> list[Detection]:
        """Places with a score above `threshold`; their points are all the middle."""
        looks = [self._look(image, side, threshold) for side in _LONG_SIDES]
        boxes = np.concatenate([boxes for boxes, _ in looks])
        scores = np.concatenate([scores for _, scores in looks])
        at_border = touch_border(boxes, image.shape) | _touches_filling(boxes, image)
        boxes, scores = boxes[at_border], scores[at_border]
        found = []
        for i in suppress(boxes, scores):
            middle = (boxes[i, :2] + boxes[i, 2:]) / 2
            half = _GROWN * (boxes[i, 2:] - boxes[i, :2]) / 2
            box = np.concatenate([middle - half, middle + half])
            points = np.repeat(middle[None], 5, axis=0)
            found.append(Detection(box, float(scores[i]), points))
        return sorted(found, key=lambda face: -face.area)

    def _look(
        self, image, long_side: int, threshold: float
    ) -> tuple[Float[np.ndarray, "n 4"], Float[np.ndarray, " n"]]:
        """Boxes and scores of the picture at one size."""
        height, width = image.shape[:2]
        scale = long_side / max(height, width)
        size = tuple(max(_STRIDE, round(side * scale)) for side in (width, height))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = cv2.resize(image, size, interpolation=way)
        # The last cells are whole ones; what is beyond the picture goes on as it ends.
        rest = [-side % _STRIDE for side in size]
        small = cv2.copyMakeBorder(small, 0, rest[1], 0, rest[0], cv2.BORDER_REPLICATE)
        photo = small.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        head, mirrored = (
            self._session.run(None, {"image": np.ascontiguousarray(x)})[0][0]
            for x in (photo, photo[..., ::-1])
        )
        # Left and right change places; what is seen in both is surer.
        head = (head + mirrored[[0, 3, 2, 1, 4], :, ::-1]) / 2
        scores = 1 / (1 + np.exp(-head[0]))
        row, column = np.nonzero(scores > threshold)
        left, top, right, bottom = np.exp(head[1:, row, column]) * _STRIDE
        x, y = (column + 0.5) * _STRIDE, (row + 0.5) * _STRIDE
        boxes = np.stack([x - left, y - top, x + right, y + bottom], axis=-1)
        ratio = np.tile([width / size[0], height / size[1]], 2)
        return (boxes * ratio).astype(np.float32), scores[row, column]


def _touches_filling(
    boxes: Float[np.ndarray, "n 4"], image: UInt8[np.ndarray, "h w 3"]
) -> Bool[np.ndarray, " n"]:
    """Whether what fills a corner evenly, as beyond a turned picture, cuts a box."""
    longest = max(image.shape[:2])
    if longest > _FILLING_SIDE:  # nearest pixels: what is even stays even
        size = [max(1, side * _FILLING_SIDE // longest) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
        boxes = boxes * (_FILLING_SIDE / longest)
    else:  # floodFill takes no view, and nothing that is only to be read
        image = np.array(image, order="C")
    height, width = image.shape[:2]
    filling = np.zeros((height + 2, width + 2), np.uint8)  # with cv2's rim, 1 too
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY
    level = (_UNIFORM,) * 3
    for corner in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        cv2.floodFill(image, filling, corner, 0, level, level, flags)
    filling = filling[1:-1, 1:-1]
    slack = BORDER * max(height, width)
    low = np.floor(boxes[:, :2] - slack).clip(0).astype(int)
    high = np.ceil(boxes[:, 2:] + slack).astype(int)
    parts = [filling[y:b, x:r] for (x, y), (r, b) in zip(low, high, strict=True)]
    shares = [part.mean() if part.size else 0.0 for part in parts]
    return np.array(shares, np.float64) > _FILLED
