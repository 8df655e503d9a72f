"""Photos to what the generator takes: the largest face of each, aligned and embedded.

Owns the short way for experiments. `anonymize` has the safe one, which searches
harder, takes every face and verifies the result.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import UInt8

from id2face_jax.faces import align, mask
from id2face_jax.faces.detect import CenterFaceDetector
from id2face_jax.faces.embed import make_recognizer
from id2face_jax.generation.generate import Faces

_THRESHOLD = 0.5  # the detector's score


def open_faces(
    config: ml_collections.ConfigDict,
    photos: Sequence[UInt8[np.ndarray, "_h _w 3"]],
    recognizer: str = "dlib",
) -> Faces:
    """The largest face of each photo as an aligned crop of config.data, with its mask.

    Args:
      config: of `load_weights`.
      photos: RGB pixels, upright.
      recognizer: the one that the model was trained on, as `--recognizer`.

    Raises:
      ValueError: a photo shows no face that the detector is sure of.
    """
    detector, size = CenterFaceDetector(), config.data.image_size
    geometry = align.geometry_of(config.data)
    images, masks, points = [], [], []
    for index, photo in enumerate(photos):
        found = detector(photo, _THRESHOLD)
        if not found:
            raise ValueError(
                f"photo {index} shows no face that the detector is sure of"
            )
        landmarks = max(found, key=_area).landmarks
        matrix = align.crop_matrix(landmarks, size, geometry)
        inside = align.transform_points(matrix, landmarks).astype(np.float32)
        images.append(align.crop(photo, matrix, size))
        masks.append(mask.face_mask(inside, size))
        points.append(landmarks)
    embeddings = make_recognizer(recognizer)(photos, np.stack(points))
    return Faces(*map(jnp.asarray, (np.stack(images), np.stack(masks), embeddings)))


def _area(face) -> float:
    x0, y0, x1, y1 = face.box
    return float((x1 - x0) * (y1 - y0))
