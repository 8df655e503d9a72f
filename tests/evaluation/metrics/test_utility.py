"""Known answers of what survives, and for whom."""

import numpy as np
import pytest

from id2face_jax.evaluation.metrics import fairness, utility
from id2face_jax.faces import align


@pytest.fixture
def points():
    return np.stack([align.template(128)] * 3)


def test_landmark_error_is_in_percent_of_the_eye_distance(points):
    eyes = np.linalg.norm(points[0, 1] - points[0, 0])
    moved = points + np.float32([0.1 * eyes, 0])
    error = utility.landmark_error(points, moved, np.array([True, True, False]))
    assert error[:2] == pytest.approx([10, 10], rel=1e-4) and np.isnan(error[2])


def test_pose_error_goes_the_short_way_round():
    source, output = np.array([[179.0, 0, 0]]), np.array([[-179.0, 3, 0]])
    error = utility.pose_error(source, output, np.array([True]))
    assert error == pytest.approx([5 / 3])


def test_expression_overlap_is_one_for_equal_and_zero_for_disjoint():
    source = np.array([[0.6, 0.4, 0], [1, 0, 0], [0.6, 0.4, 0]])
    output = np.array([[0.6, 0.4, 0], [0, 0, 1], [0.4, 0.6, 0]])
    figures = utility.expression_figures(source, output, np.ones(3, bool))
    np.testing.assert_allclose(figures["overlap"], [1, 0, 0.8])
    np.testing.assert_allclose(figures["agreement"], [1, 0, 0])


def test_identity_control_is_one_when_obeyed_and_chance_when_not():
    rng = np.random.default_rng(0)
    requested = rng.normal(size=(400, 64))
    requested /= np.linalg.norm(requested, axis=1, keepdims=True)
    persons = np.arange(400)
    obeyed = utility.identity_control(requested, requested, persons, 0)
    ignored = utility.identity_control(requested[::-1], requested, persons, 0)
    assert obeyed.mean() == 1 and ignored.mean() < 0.04


def test_skin_tone_falls_with_lightness_and_follows_its_formula(points):
    light, dark = (
        np.full((1, 128, 128, 3), c, np.uint8) for c in ((235, 200, 180), (90, 60, 45))
    )
    tones = [utility.light(x, points[:1])["skin_tone"][0] for x in (light, dark)]
    assert tones[0] > 41 and tones[1] < 10
    assert [name for name, high in fairness.SKIN_TONES if tones[1] <= high][0] in (
        "dark",
        "brown",
    )


def test_head_turn_is_zero_facing_the_camera_and_grows_with_the_nose(points):
    turned = points.copy()
    turned[:, 2, 0] += np.float32([0, 5, -10])
    turn = fairness.head_turn(turned)
    assert turn[0] < 0.02 and turn[1] < turn[2]
