"""People that ship with the package: the demonstration's portrait in four versions.

Two are as they are; two are darkened, and longer below the nose. In order of their
names the two kinds take turns.
"""

import cv2
import numpy as np

from id2face_jax import demo
from id2face_jax.evaluation import people
from id2face_jax.faces import align, detect, embed

SIZE = 128
_NOSE, _LONGER, _DARKER = 165, 1.3, 0.5  # row of the portrait; factors


def photos() -> dict[str, np.ndarray]:
    """Name -> photo with one face. Each version is taken for another person."""
    portrait = demo.pictures()["portrait"]
    mirrored = np.ascontiguousarray(portrait[:, ::-1])
    return {
        "a.png": portrait,
        "b.png": _changed(mirrored),
        "c.png": mirrored,
        "d.png": _changed(portrait),
    }


def _changed(photo: np.ndarray) -> np.ndarray:
    """Darker, and stretched below the nose."""
    rows, columns = np.indices(photo.shape[:2], np.float32)
    rows = np.where(rows > _NOSE, _NOSE + (rows - _NOSE) / _LONGER, rows)
    longer = cv2.remap(photo, columns, rows.astype(np.float32), cv2.INTER_LINEAR)
    return np.uint8(np.rint(_DARKER * longer))


class Records:
    """The photos as `id2face prepare` cuts them, but for the encoding."""

    def __init__(self):
        detector = detect.CenterFaceDetector()
        recognizer = embed.make_recognizer("dlib")
        self._records = []
        for number, (name, photo) in enumerate(photos().items()):
            points = detector(photo, 0.5)[0].landmarks
            matrix = align.crop_matrix(points, SIZE)
            self._records.append(
                {
                    "image": align.crop(photo, matrix, SIZE),
                    "landmarks": np.float32(align.transform_points(matrix, points)),
                    "matrix": np.float32(matrix),
                    "embedding": recognizer([photo], points[None])[0],
                    "person": name,
                    "person_id": number,
                    "photo": name,
                }
            )
        self.person_ids = np.arange(len(self._records))

    def __len__(self):
        return len(self._records)

    def __getitem__(self, index):
        return self._records[index]


def open_people(seed: int = 0) -> people.People:
    """The four faces, with their full photos."""
    return people.select(Records(), None, seed, photos().__getitem__)
