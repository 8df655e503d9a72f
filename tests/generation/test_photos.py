"""Photos to what the generator takes."""

import numpy as np
import pytest
import skimage.data

from id2face_jax.generation.exports import load_weights
from id2face_jax.generation.photos import open_faces

PORTRAIT = skimage.data.astronaut()
CONFIG, _ = load_weights(None)


def test_the_largest_face_is_taken_whatever_else_there_is():
    small = np.ascontiguousarray(PORTRAIT[::2, ::2])
    both = np.zeros((512, 768, 3), np.uint8)
    both[:256, :256], both[:, 256:] = small, PORTRAIT
    alone, among = open_faces(CONFIG, [PORTRAIT, both]).embeddings
    assert alone @ among > 0.95


def test_a_photo_without_a_face_is_named():
    blank = np.zeros_like(PORTRAIT)
    with pytest.raises(ValueError, match="photo 1 shows no face"):
        open_faces(CONFIG, [PORTRAIT, blank])
