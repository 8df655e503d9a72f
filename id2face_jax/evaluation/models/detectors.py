"""Is a face still found, and where? The product's own detector, and a second one.

Every method's output goes through the same calls as the untouched photos.

Alignment is the recognizer's first step and could hide a failure: a face that is not
detected cannot be aligned, and would count as anonymous. So an undetected face is
embedded at the source's landmarks, as an attacker would who marks them by hand, and
the detection rate is a figure of its own.
"""

import pathlib

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from id2face_jax.faces import detect

DETECTION_THRESHOLD = 0.5
# A crop is enlarged to this many pixels for detection; finds all untouched LFW faces.
_DETECTION_SIDE = 256


def make_detector() -> detect.CenterFaceDetector:
    """The product's own detector, set for aligned crops."""
    return detect.CenterFaceDetector(min_long_side=_DETECTION_SIDE)


def find_faces(
    detector: detect.CenterFaceDetector,
    images: UInt8[np.ndarray, "n s s 3"],
    landmarks: Float[np.ndarray, "n 5 2"],
) -> dict[str, np.ndarray]:
    """Looks for the face in each crop.

    Args:
      detector: finds faces.
      images: crops.
      landmarks: of the sources; a detection counts if its box holds their mean, and
        they stand in where there is none.

    Returns found (n,) bool; landmarks (n, 5, 2); box (n, 4), of the source's landmarks
    where nothing was found; score (n,), 0 where nothing was found.
    """
    out = {
        "found": np.zeros(len(images), bool),
        "landmarks": landmarks.astype(np.float32),
        "box": np.stack([_box_around(points) for points in landmarks]),
        "score": np.zeros(len(images), np.float32),
    }
    for i, image in enumerate(images):
        x, y = landmarks[i].mean(axis=0)
        faces = [
            face
            for face in detector(image, DETECTION_THRESHOLD)
            if face.box[0] < x < face.box[2] and face.box[1] < y < face.box[3]
        ]
        if faces:
            best = max(faces, key=lambda face: face.score)
            out["found"][i], out["score"][i] = True, best.score
            out["landmarks"][i], out["box"][i] = best.landmarks, best.box
    return out


def _box_around(points: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "4"]:
    """A detector-like box around five points: CenterFace's mean over LFW."""
    eyes = np.linalg.norm(points[1] - points[0])
    x, y = points.mean(axis=0)
    half_width, up, down = 1.1 * eyes, 1.45 * eyes, 1.3 * eyes
    return np.float32([x - half_width, y - up, x + half_width, y + down])


class SecondDetector:
    """YuNet through OpenCV: does another detector see the face?"""

    def __init__(self, path: pathlib.Path):
        if not path.is_file():
            raise ValueError(f"no detector at {path}; give the path of yunet's ONNX")
        self._detector = cv2.FaceDetectorYN.create(
            str(path), "", (_DETECTION_SIDE, _DETECTION_SIDE), 0.6
        )

    def __call__(self, images: UInt8[np.ndarray, "n s s 3"]) -> np.ndarray:
        """(n,) bool: found a face whose box holds the crop's middle."""
        return np.array([self._finds(image) for image in images])

    def _finds(self, image) -> bool:
        side = _DETECTION_SIDE
        bgr = cv2.cvtColor(cv2.resize(image, (side, side)), cv2.COLOR_RGB2BGR)
        _, faces = self._detector.detect(bgr)
        middle = side / 2
        return any(
            face[0] < middle < face[0] + face[2]
            and face[1] < middle < face[1] + face[3]
            for face in (faces if faces is not None else ())
        )
