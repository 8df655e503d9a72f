"""A picture of what would be changed, for --dry-run: boxes, on blurred faces."""

import cv2
import numpy as np
from jaxtyping import UInt8

from id2face_jax.anonymize.anonymizer import Result

_COLORS = {"fallback": (230, 60, 40), "kept": (40, 160, 60)}


def draw(result: Result) -> UInt8[np.ndarray, "h w 3"]:
    """The result's picture with a box and the score of each face: red, kept ones green.

    The faces in it are already blurred: a preview must not be the leak.
    """
    image = result.image.copy()
    thickness = max(1, round(max(image.shape) / 500))
    for face in result.faces:
        left, top, right, bottom = (round(float(v)) for v in face.detection.box)
        color = _COLORS[face.state]
        cv2.rectangle(image, (left, top), (right, bottom), color, thickness)
        cv2.putText(
            image,
            f"{face.detection.score:.2f}",
            (left, max(12 * thickness, top - 4 * thickness)),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.4 * thickness,
            color,
            thickness,
        )
    return image
