"""Laws of the directions of appearance, and the file that ships."""

import numpy as np
import pytest

from id2face_jax.faces import align, appearance, embed


def test_directions_are_found_again_and_orthonormal():
    """Labels that two axes of the embedding set, and one that nothing sets."""
    rng = np.random.default_rng(0)
    f = rng.normal(size=(2000, 16))
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    labels = np.stack([f[:, 0], f[:, 1] + 2 * f[:, 2], rng.normal(size=2000)], axis=1)
    directions, read = appearance.fit(f, labels)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-5)
    assert np.all(read[:2] > 0.98) and abs(read[2]) < 0.1
    assert abs(directions[0, 0]) > 0.99
    np.testing.assert_allclose(np.abs(directions[1, 1:3]), [0.447, 0.894], atol=0.03)


def test_the_shipped_directions_are_for_the_built_in_recognizer():
    directions = appearance.load(embed.make_recognizer("dlib").name)
    assert directions.shape == (3, 128)
    np.testing.assert_allclose(directions @ directions.T, np.eye(3), atol=1e-5)
    assert appearance.load("onnx-12345678") is None


@pytest.mark.parametrize("gray, lightness", [(0, 0.0), (119, 50.0), (255, 100.0)])
def test_lightness_is_that_of_the_cheeks(gray, lightness):
    crop = np.full((160, 160, 3), 200, np.uint8)
    points = align.template(160)
    for x, y in 0.45 * points[:2] + 0.55 * points[3:]:
        crop[round(y) - 12 : round(y) + 12, round(x) - 12 : round(x) + 12] = gray
    assert abs(appearance.skin_lightness(crop, points) - lightness) < 1.0
