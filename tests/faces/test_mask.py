"""Laws of the identity mask."""

import numpy as np
import pytest

from id2face_jax.faces import align, mask
from tests.faces.test_align import similarity

SIZE = 128
FRONTAL = align.template(SIZE)


def turned(shift: float) -> np.ndarray:
    """The frontal points with the nose moved sideways, as in a turned head."""
    points = FRONTAL.copy()
    points[2, 0] += shift
    return points


def test_range_inside_and_outside():
    drawn = mask.face_mask(FRONTAL, SIZE)
    assert drawn.dtype == np.float32 and drawn.shape == (SIZE, SIZE)
    assert drawn.min() == 0 and drawn.max() == 1
    for x, y in FRONTAL.astype(int):
        assert drawn[y, x] == 1
    assert drawn[0].max() == drawn[-1].max() == drawn[:, 0].max() == 0
    # Forehead and chin, a third and a quarter of the face's height beyond the points.
    assert drawn[54 - 25, 64] == 1 and drawn[86 + 22, 64] == 1


def test_the_edge_is_soft_everywhere():
    drawn = mask.face_mask(FRONTAL, SIZE)
    steps = np.maximum(
        np.abs(np.diff(drawn, axis=0))[:, 1:], np.abs(np.diff(drawn, axis=1))[1:]
    )
    assert steps.max() < 0.4


def test_the_region_has_no_holes():
    inside = mask.face_mask(FRONTAL, SIZE) > 0.5
    for line in [*inside, *inside.T]:
        assert np.abs(np.diff(line.astype(int))).sum() <= 2


@pytest.mark.parametrize("angle", [0, 30, -75, 180])
def test_it_turns_with_the_face(angle):
    around = align.compose(
        similarity(1, 0, 64, 60),
        align.compose(similarity(1, angle, 0, 0), similarity(1, 0, -64, -60)),
    )
    points = align.transform_points(around, FRONTAL.astype(np.float64))
    turned_mask = mask.face_mask(points.astype(np.float32), SIZE)
    upright = mask.face_mask(FRONTAL, SIZE)
    rng = np.random.default_rng(0)
    probes = rng.uniform(30, 98, (200, 2))
    moved = np.rint(align.transform_points(around, probes)).astype(int)
    kept = np.all((moved >= 0) & (moved < SIZE), axis=1)
    there = turned_mask[moved[kept, 1], moved[kept, 0]]
    here = upright[
        probes[kept, 1].round().astype(int), probes[kept, 0].round().astype(int)
    ]
    assert np.mean(np.abs(there - here)) < 0.05


def test_a_turned_head_shows_less_cheek_where_its_nose_points():
    right = mask.face_mask(turned(8), SIZE)
    left = mask.face_mask(turned(-8), SIZE)
    assert right[70, 64:].sum() < right[70, :64].sum()
    assert left[70, 64:].sum() > left[70, :64].sum()


def test_random_masks_follow_the_generator_alone():
    first, again, other = (
        mask.random_mask(np.random.default_rng(seed), FRONTAL, SIZE)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_random_masks_hide_the_features_and_vary_in_size():
    rng = np.random.default_rng(0)
    masks = np.stack([mask.random_mask(rng, FRONTAL, SIZE) for _ in range(60)])
    assert masks.min() >= 0 and masks.max() <= 1
    x, y = FRONTAL.astype(int).T
    assert masks[:, y, x].min() == 1
    areas = masks.mean(axis=(1, 2))
    assert areas.max() > 1.4 * areas.min()


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 64.0)])
def test_broken_points_still_give_a_mask(points):
    drawn = mask.face_mask(points.astype(np.float32), SIZE)
    assert np.isfinite(drawn).all() and drawn.max() == 1
