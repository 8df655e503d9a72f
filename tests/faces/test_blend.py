"""Laws of pasting."""

import cv2
import numpy as np
import pytest
from skimage import data

from id2face_jax.faces import align, blend, mask
from tests.faces.test_align import similarity

SIZE = 64
DISC = mask.face_mask(align.template(SIZE), SIZE)


def photo(height: int = 200, width: int = 240) -> np.ndarray:
    """A part of scikit-image's astronaut."""
    return np.ascontiguousarray(data.astronaut()[:height, 100 : 100 + width])


PLACES = {
    "same size": similarity(1, 0, -60, -50),
    "turned and shrunk": similarity(0.4, 30, 30, -30),
    "grown": similarity(2.5, -20, -300, -100),
    "over the border": similarity(1, 0, 20, 25),
}


@pytest.mark.parametrize("place", PLACES)
def test_only_pixels_under_the_mask_change(place):
    before, matrix = photo(), PLACES[place]
    crop = np.zeros((SIZE, SIZE, 3), np.uint8)
    after = blend.paste(before, crop, matrix, DISC)
    assert after.shape == before.shape and after.dtype == np.uint8
    changed = np.argwhere(np.any(after != before, axis=-1))[:, ::-1].astype(np.float64)
    assert len(changed) > 50
    where = np.rint(align.transform_points(matrix, changed)).astype(int)
    reach = cv2.dilate(DISC, np.ones((5, 5)))  # of the interpolation
    assert where.min() >= 0 and where.max() < SIZE
    assert reach[where[:, 1], where[:, 0]].min() > 0


def test_the_photo_given_stays_as_it_is():
    before = photo()
    kept = before.copy()
    blend.paste(before, np.zeros((SIZE, SIZE, 3), np.uint8), PLACES["same size"], DISC)
    np.testing.assert_array_equal(before, kept)


@pytest.mark.parametrize("drawn", [np.zeros_like(DISC), DISC], ids=["empty", "away"])
def test_nothing_to_paste_changes_nothing(drawn):
    far = similarity(1, 0, 5000, 0)
    before, crop = photo(), np.zeros((SIZE, SIZE, 3), np.uint8)
    np.testing.assert_array_equal(blend.paste(before, crop, far, drawn), before)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_photos_own_crop_leaves_no_trace(scale):
    # Blurred to what the crop can hold, so that only the way there and back counts.
    before = cv2.GaussianBlur(photo(), (0, 0), 3.0)
    matrix = similarity(scale, 0, -60 * scale, -50 * scale)
    after = blend.paste(before, align.crop(before, matrix, SIZE), matrix, DISC)
    assert np.abs(after.astype(int) - before).mean() < 0.5
    assert np.abs(after.astype(int) - before).max() < 24


def test_a_small_crop_in_a_large_photo_does_not_ring():
    gray = np.full((600, 600, 3), 128, np.uint8)
    crop = np.full((SIZE, SIZE, 3), 100, np.uint8)
    crop[:, SIZE // 2 :] = 156  # a step, the same light on average
    after = blend.paste(gray, crop, similarity(1 / 8, 0, -5, -5), DISC)
    # The color match draws both sides to the gray; nothing passes them at the step.
    line = after[300, 200:400, 0].astype(int)
    assert np.all(np.diff(line) >= -1)
    assert line[-1] - line[0] > 10


def test_a_cast_is_matched_where_the_two_meet():
    before = np.full((200, 240, 3), (120, 110, 100), np.uint8)
    cast = np.full((SIZE, SIZE, 3), (140, 110, 90), np.uint8)
    after = blend.paste(before, cast, PLACES["same size"], DISC)
    assert np.abs(after.astype(int) - before).max() <= 6


def test_a_face_of_another_color_keeps_it():
    before = np.full((200, 240, 3), 200, np.uint8)
    after = blend.paste(
        before, np.full((SIZE, SIZE, 3), 90, np.uint8), PLACES["same size"], DISC
    )
    assert after.min() < 130


@pytest.mark.parametrize("share", [0.3, 0.2])
def test_a_face_in_the_dark_is_in_the_dark(share):
    before = np.uint8(share * photo())
    bright = align.crop(photo(), PLACES["same size"], SIZE)
    after = blend.paste(before, bright, PLACES["same size"], DISC).astype(int)
    assert np.abs(after - before).mean() < 2 and after.max() <= before.max() + 24
    # And it keeps its own contrast: it is dimmed, not cut off.
    inside = np.s_[72:92, 82:102]
    assert after[inside].std() > 0.5 * before[inside].astype(int).std()


def test_a_mask_up_to_the_border_ends_softly():
    before = np.full((200, 240, 3), 200, np.uint8)
    whole = np.ones((SIZE, SIZE), np.float32)
    after = blend.paste(
        before, np.zeros((SIZE, SIZE, 3), np.uint8), PLACES["same size"], whole
    )
    steps = np.abs(np.diff(after[80].astype(int), axis=0)).max()
    assert steps < 80
