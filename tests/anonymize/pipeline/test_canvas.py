"""Pixels: who paints where, and that nothing of an original comes back."""

import numpy as np
import pytest

from id2face_jax.anonymize.pipeline import canvas
from id2face_jax.faces import align
from id2face_jax.faces.mask import face_mask

SIZE = 48
MASK = face_mask(align.template(SIZE), SIZE)


def matrix_at(x, y, scale=1.0, turn=0.0):
    """The crop matrix of a face whose crop is centered on (x, y); turn in degrees."""
    angle = np.deg2rad(turn)
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear / scale
    center = np.array([SIZE / 2, SIZE / 2])
    return np.concatenate([linear, (center - linear @ [x, y])[:, None]], axis=1)


def random_image(height=120, width=160):
    return np.random.default_rng(0).integers(1, 255, (height, width, 3), np.uint8)


PLACES = [
    matrix_at(80, 60),
    matrix_at(80, 60, 1.7, 33),
    matrix_at(5, 110, 0.8, 190),
    matrix_at(150, 3, 2.5, -70),
    matrix_at(80, 60, 8.0),
]


@pytest.mark.parametrize("matrix", PLACES)
def test_all_that_a_paste_changes_counts_as_painted(matrix):
    image = random_image()
    work = canvas.Canvas(image)
    work.paint(0, np.zeros((SIZE, SIZE, 3), np.uint8), matrix, MASK)
    changed = np.any(work.current != image, axis=-1)
    window = canvas.crop_window(image.shape, matrix, MASK)
    painted = np.zeros(changed.shape, bool)
    painted[window.slices] = window.painted
    assert changed.any() and not np.any(changed & ~painted)
    np.testing.assert_array_equal(work.original, image)


@pytest.mark.parametrize("matrix", PLACES[:2])
def test_window_does_not_change_the_crop(matrix):
    image = random_image()
    crop = canvas.Canvas(image).cut(0, matrix, MASK)
    whole = align.crop(image, matrix, SIZE)
    # Whole numbers are added to the matrix, so some weights are rounded otherwise.
    assert np.abs(crop.astype(int) - whole).max() <= 1


def test_crop_outside_of_the_picture_paints_nothing():
    image = random_image()
    work = canvas.Canvas(image)
    far = matrix_at(-500, -500)
    assert not canvas.crop_window(image.shape, far, MASK).painted.size
    work.paint(0, np.zeros((SIZE, SIZE, 3), np.uint8), far, MASK)
    np.testing.assert_array_equal(work.current, image)


def test_crop_shows_a_finished_neighbor_and_its_own_original():
    image = np.full((120, 160, 3), 200, np.uint8)
    first, second = matrix_at(65, 60), matrix_at(85, 60)
    black = np.zeros((SIZE, SIZE, 3), np.uint8)
    work = canvas.Canvas(image)
    work.paint(0, black, first, MASK)
    # The neighbor's view: all that the first face painted is black, none is original.
    seen = work.cut(1, second, MASK)
    expected = align.crop(work.current, second, SIZE)
    assert np.abs(seen.astype(int) - expected).max() <= 1
    assert (seen < 60).mean() > 0.2
    # The first face's next attempt starts from its own original, except where the
    # second has painted since.
    assert work.cut(0, first, MASK).min() > 190
    work.paint(1, black, second, MASK)
    again = work.cut(0, first, MASK)
    assert again.min() < 60 < 190 < again.max()


def test_finished_face_is_never_repainted_with_original_pixels():
    image = np.full((120, 160, 3), 200, np.uint8)
    first, second = matrix_at(65, 60), matrix_at(85, 60)
    work = canvas.Canvas(image)
    work.paint(0, np.zeros((SIZE, SIZE, 3), np.uint8), first, MASK)
    full = canvas.crop_window(image.shape, first, (MASK == 1).astype(np.float32))
    inner = np.zeros(image.shape[:2], bool)
    inner[full.slices] = full.painted
    before = work.current[inner].astype(int)
    # A generator that gives back what it sees.
    work.paint(1, work.cut(1, second, MASK), second, MASK)
    after = work.current[inner].astype(int)
    # The color match may shift levels; the original 200 must not come back.
    assert np.all(after <= before + 60)


def test_waves_are_a_partition_into_windows_apart():
    rng = np.random.default_rng(0)
    places, shapes = rng.integers(0, 200, (40, 2)), rng.integers(5, 40, (40, 2))
    windows = [
        canvas.Window(int(x), int(y), np.ones(shape, bool))
        for (x, y), shape in zip(places, shapes, strict=True)
    ]
    groups = canvas.waves(windows)
    assert sorted(i for group in groups for i in group) == list(range(40))
    for group in groups:
        for i in group:
            assert not any(windows[i].touches(windows[j]) for j in group if j != i)


def test_blur_keeps_no_detail():
    box = np.float32([40, 30, 90, 100])
    image = random_image()
    # The same cells' means, another picture: noise of the same mean.
    smooth = np.full_like(image, 128)
    coarse = [canvas.Canvas(picture) for picture in (image, smooth)]
    for work in coarse:
        work.hide(0, box)
    inside = (slice(32, 98), slice(42, 88))
    hidden, flat = (work.current[inside].astype(int) for work in coarse)
    assert image[inside].std() > 60 and hidden.std() < 12
    assert abs(hidden.mean() - flat.mean()) < 8
    # Nothing is left but smooth colors: neighbors are almost equal.
    assert np.abs(np.diff(hidden, axis=0)).max() <= 4


@pytest.mark.parametrize(
    "box", [(40, 30, 90, 100), (-30, -20, 25, 40), (150, 5, 400, 9)]
)
def test_blur_covers_the_whole_box(box):
    image = random_image()
    work = canvas.Canvas(image)
    work.hide(0, np.float32(box), solid=True)
    left, top, right, bottom = (max(0, v) for v in box)
    inside = work.current[top:bottom, left:right].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) == 1
    assert work.is_painted(np.float32([left, top])) == (left < 160)


def test_blur_of_a_face_outside_of_the_picture_changes_nothing():
    work = canvas.Canvas(random_image())
    work.hide(0, np.float32([400, 400, 450, 460]))
    np.testing.assert_array_equal(work.current, work.original)


def test_face_at_the_border_gets_no_finer_mosaic():
    assert canvas._cells(100, 100) == (4, 4)
    across, down = canvas._cells(10, 500)
    assert across == 4 and down == 8
    assert canvas._cells(2, 3) == (2, 3)
