"""Laws of the crop's geometry."""

import cv2
import numpy as np
import pytest

from id2face_jax.faces import align


def similarity(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    """The matrix of a turn by `angle` degrees, a scaling and a shift."""
    cos, sin = scale * np.cos(np.deg2rad(angle)), scale * np.sin(np.deg2rad(angle))
    return np.array([[cos, -sin, x], [sin, cos, y]])


CASES = [(1.0, 0, 0, 0), (3.7, 25, 40, -7), (0.2, 180, 300, 200), (1.3, -95, 5, 900)]


def test_template_is_the_contract_at_128_pixels():
    points = align.template(128)
    assert points.dtype == np.float32
    np.testing.assert_allclose(points[:2, 1], 54.1, atol=0.1)
    np.testing.assert_allclose(points[:2, 0], [49.8, 78.0], atol=0.1)
    np.testing.assert_allclose(points[3:, 1], 86.6, atol=0.2)


def test_template_grows_with_the_crop():
    small, large = align.template(64), align.template(256)
    np.testing.assert_allclose(large, small * 4, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_any_similar_face_lands_on_the_template(case):
    photo_points = align.transform_points(similarity(*case), align.template(128))
    matrix = align.crop_matrix(photo_points, 128)
    landed = align.transform_points(matrix, photo_points)
    np.testing.assert_allclose(landed, align.template(128), atol=1e-3)
    assert align.scale_of(matrix) == pytest.approx(1 / case[0], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_is_where_one_was(case):
    matrix = similarity(*case)
    points = np.random.default_rng(0).normal(scale=100, size=(7, 2))
    there = align.transform_points(matrix, points)
    back = align.transform_points(align.invert(matrix), there)
    np.testing.assert_allclose(back, points, atol=1e-8)
    both = align.compose(align.invert(matrix), matrix)
    np.testing.assert_allclose(both, [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_compose_applies_the_inner_map_first():
    outer, inner = similarity(2, 30, 1, 2), similarity(0.5, -80, 30, 4)
    points = np.array([[3.0, 4.0], [-1.0, 7.5]])
    np.testing.assert_allclose(
        align.transform_points(align.compose(outer, inner), points),
        align.transform_points(outer, align.transform_points(inner, points)),
    )


def test_the_fit_is_least_squares():
    noise = np.random.default_rng(1).normal(size=(5, 2))
    points = align.template(128).astype(np.float64) * 2 + noise
    best = align.crop_matrix(points, 128)

    def error(matrix):
        return np.sum(
            (align.transform_points(matrix, points) - align.template(128)) ** 2
        )

    for nudge in (similarity(1.01, 0, 0, 0), similarity(1, 1, 0, 0)):
        assert error(best) < error(align.compose(nudge, best))


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 30.0),
        np.full((5, 2), np.nan),
        align.template(128) * [-1, 1],  # a mirror image: left before right
    ],
    ids=["coinciding", "nan", "mirrored"],
)
def test_points_that_are_no_face_are_refused(points):
    with pytest.raises(ValueError, match="do not look like a face"):
        align.crop_matrix(points.astype(np.float32), 128)


def test_crop_by_the_identity_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    identity = np.array([[1.0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(align.crop(image, identity, 64), image)


@pytest.mark.parametrize("factor", [2, 3, 8.5])
def test_shrinking_averages_and_does_not_alias(factor):
    y, x = np.mgrid[:600, :600]
    board = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)
    crop = align.crop(board, similarity(1 / factor, 7, 5, 0), 32)[4:-4, 4:-4]
    # A checkerboard of single pixels is gray from afar; sampled, it would be moire.
    assert np.abs(crop.astype(int) - 127).max() < 25


def test_shrinking_keeps_places():
    image = np.zeros((400, 400, 3), np.uint8)
    cv2.circle(image, (200, 120), 24, (255, 255, 255), -1)
    matrix = similarity(0.125, 0, 3, 5)
    crop = align.crop(image, matrix, 64)[..., 0].astype(float)
    y, x = np.mgrid[:64, :64]
    found = [np.sum(x * crop) / crop.sum(), np.sum(y * crop) / crop.sum()]
    wanted = align.transform_points(matrix, np.array([[200.0, 120.0]]))[0]
    # Pixel centers: the half pixel that a scaling shifts belongs to the matrix.
    np.testing.assert_allclose(found, wanted, atol=0.1)


def test_beyond_the_border_the_photo_is_mirrored():
    image = np.full((50, 50, 3), 90, np.uint8)
    crop = align.crop(image, similarity(1, 0, 30, 30), 64)
    np.testing.assert_array_equal(crop, 90)
