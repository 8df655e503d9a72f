"""The second detector: faces that a border cuts."""

import cv2
import numpy as np
import pytest
import skimage.data

from id2face_jax.faces.detect import CenterFaceDetector
from id2face_jax.faces.truncated import TruncatedFaceDetector

PHOTO = skimage.data.astronaut()


@pytest.fixture(scope="module")
def detector():
    return TruncatedFaceDetector()


@pytest.fixture(scope="module")
def face():
    """The box of the whole face."""
    (found,) = CenterFaceDetector()(PHOTO, 0.5)
    return found.box.round().astype(int)


@pytest.mark.parametrize("share", [0.4, 0.6])
@pytest.mark.parametrize("border", ["left", "right", "top", "bottom"])
def test_part_of_a_face_is_found_at_every_border(detector, face, border, share):
    left, top, right, bottom = face
    x, y = left + share * (right - left), top + share * (bottom - top)
    x_end, y_end = right - share * (right - left), bottom - share * (bottom - top)
    cuts = {
        "left": (slice(0, 400), slice(int(x_end), 500)),
        "right": (slice(0, 400), slice(0, int(x))),
        "top": (slice(int(y_end), 400), slice(0, 500)),
        "bottom": (slice(0, int(y)), slice(0, 500)),
    }
    rows, columns = cuts[border]
    picture = np.ascontiguousarray(PHOTO[rows, columns])
    box = face - np.tile([columns.start, rows.start], 2)
    seen = np.clip(box, 0, np.tile(picture.shape[1::-1], 2))
    middle = (seen[:2] + seen[2:]) / 2
    found = detector(picture, 0.5)
    assert any(
        np.all((place.box[:2] < middle) & (middle < place.box[2:])) for place in found
    )
    assert found == sorted(found, key=lambda place: -place.area)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("angle", [0, 15])
def test_even_filling_of_the_corners_is_a_border(detector, face, level, angle):
    """As where a photo was turned: the face ends far inside the picture."""
    left, top, right, bottom = face
    half = PHOTO[: bottom + 60, : (left + right) // 2]
    height, width = half.shape[:2]
    turn = cv2.getRotationMatrix2D((width, height / 2), angle, 1.0)
    turn[:, 2] += 60  # pixels of filling on every side, and more beside it
    picture = cv2.warpAffine(
        half, turn, (width + 120, height + 120), borderValue=(level,) * 3
    )
    x, y = turn @ [(3 * left + right) / 4, (top + bottom) / 2, 1]
    assert any(
        np.all((place.box[:2] < [x, y]) & ([x, y] < place.box[2:]))
        for place in detector(picture)
    )
    # Without the filling the same place is inside of the picture, so CenterFace's.
    noisy = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    is_filling = np.all(picture == level, axis=-1, keepdims=True)
    assert not detector(np.where(is_filling, noisy, picture))


def test_boxes_grow_with_the_picture(detector):
    large = PHOTO.repeat(2, axis=0).repeat(2, axis=1)
    once, twice = detector(PHOTO, 0.3), detector(large, 0.3)
    assert len(once) == len(twice) >= 1
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_allclose(two.box, 2 * one.box, atol=6)


@pytest.mark.parametrize("name", ["coins", "page", "brick", "gravel", "grass", "moon"])
def test_pictures_of_things_have_few_places(detector, name):
    gray = getattr(skimage.data, name)()
    assert len(detector(np.repeat(gray[..., None], 3, axis=-1))) <= 1


def test_whole_portrait_has_no_further_place(detector, face):
    """The suit of the portrait is skin-colored, and leaves the picture."""
    for place in detector(PHOTO):
        middle = (place.box[:2] + place.box[2:]) / 2
        assert np.all((face[:2] < middle) & (middle < face[2:]))


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (2000, 7)])
def test_any_size_is_a_picture(detector, shape):
    detector(np.zeros((*shape, 3), np.uint8))


@pytest.mark.parametrize("view", ["read-only", "mirrored", "turned"])
def test_any_layout_of_the_same_pixels_has_the_same_places(detector, face, view):
    half = PHOTO[: face[3], : (face[0] + face[2]) // 2]
    views = {
        "read-only": half.view(),
        "mirrored": half[:, ::-1].copy()[:, ::-1],
        "turned": np.ascontiguousarray(half.transpose(1, 0, 2)).transpose(1, 0, 2),
    }
    picture = views[view]
    picture.flags.writeable = False
    found, expected = detector(picture), detector(np.ascontiguousarray(half))
    assert len(found) == len(expected) >= 1
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.box, other.box)
