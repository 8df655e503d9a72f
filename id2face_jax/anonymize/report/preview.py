"""A picture of what would be changed, for --dry-run: boxes, on blurred faces."""

import cv2
import numpy as np
from jaxtyping import UInt8

from id2face_jax.anonymize.pipeline.anonymizer import Result

_COLORS = {"fallback": (230, 60, 40), "kept": (40, 160, 60)}
_DOUBTFUL = (230, 160, 30)


def draw(result: Result) -> UInt8[np.ndarray, "h w 3"]:
    """The result's picture with a box and the score of each face: red, kept ones green.

    Amber is what may be a face. The faces in it are already blurred: a preview must not
    be the leak.
    """
    image = result.image.copy()
    thickness = max(1, round(max(image.shape) / 500))
    boxes = [(face.detection, _COLORS[face.state]) for face in result.faces]
    boxes += [(detection, _DOUBTFUL) for detection in result.covered]
    for detection, color in boxes:
        left, top, right, bottom = (round(float(v)) for v in detection.box)
        cv2.rectangle(image, (left, top), (right, bottom), color, thickness)
        cv2.putText(
            image,
            f"{detection.score:.2f}",
            (left, max(12 * thickness, top - 4 * thickness)),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.4 * thickness,
            color,
            thickness,
        )
    return image
