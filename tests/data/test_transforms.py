"""Laws of augmentation."""

import numpy as np
import pytest

from id2face_jax.data import transforms
from id2face_jax.faces import align, mask

SIZE = 32
LANDMARKS = align.template(SIZE) + np.array([[1, 0], [0, 1], [2, 0], [0, 0], [1, 1]])
LANDMARKS = LANDMARKS.astype(np.float32)


def _image(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)


def _rng(seed=0):
    return np.random.default_rng(seed)


def test_flipping_twice_changes_nothing():
    image, landmarks = transforms.flip(*transforms.flip(_image(), LANDMARKS))
    np.testing.assert_array_equal(image, _image())
    np.testing.assert_allclose(landmarks, LANDMARKS, atol=1e-5)


def test_a_flip_keeps_left_on_the_left():
    _, landmarks = transforms.flip(_image(), LANDMARKS)
    assert landmarks[0, 0] < landmarks[1, 0] and landmarks[3, 0] < landmarks[4, 0]


def test_a_flip_moves_landmarks_with_their_pixels():
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    points = np.rint(LANDMARKS).astype(int)
    for i, (x, y) in enumerate(points):
        image[y, x] = 10 * (i + 1)
    flipped, landmarks = transforms.flip(image, points.astype(np.float32))
    # Mirrored, the eyes change places, and so do the corners of the mouth.
    values = [int(flipped[int(y), int(x), 0]) for x, y in landmarks]
    assert values == [20, 10, 30, 50, 40]


def test_flip_does_not_write_into_the_record():
    landmarks = LANDMARKS.copy()
    transforms.flip(_image(), landmarks)
    np.testing.assert_array_equal(landmarks, LANDMARKS)


def test_no_jitter_changes_no_pixel():
    np.testing.assert_array_equal(
        transforms.jitter_color(_rng(), _image(), 0.0), _image()
    )


def test_jitter_leaves_grey_grey():
    gray = np.full((SIZE, SIZE, 3), 90, np.uint8)
    jittered = transforms.jitter_color(_rng(1), gray, 0.5)
    assert np.ptp(jittered) <= 1  # OpenCV's gray is a rounded weighted sum
    assert jittered[0, 0, 0] != 90


def test_jitter_stays_within_its_strength():
    """Brightness 1.1, contrast 1.1 about mid-gray, and no color: the farthest."""
    for level in (20, 127, 230):
        gray = np.full((4, 4, 3), level, np.uint8)
        for seed in range(20):
            moved = transforms.jitter_color(_rng(seed), gray, 0.1).astype(float)
            ends = [
                (level * b - 127.5) * c + 127.5 for b in (0.9, 1.1) for c in (0.9, 1.1)
            ]
            assert min(ends) - 1.5 <= moved.min() and moved.max() <= max(ends) + 1.5


@pytest.mark.parametrize("seed", range(4))
def test_a_view_is_a_function_of_the_generators_state(seed):
    first, second = (
        transforms.random_view(_rng(seed), _image(), LANDMARKS, 0.5, 0.2)
        for _ in range(2)
    )
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_differ_and_keep_their_form():
    views = [
        transforms.random_view(_rng(seed), _image(), LANDMARKS, 0.5, 0.2)
        for seed in range(5)
    ]
    for image, region in views:
        assert image.shape == (SIZE, SIZE, 3) and image.dtype == np.uint8
        assert region.shape == (SIZE, SIZE) and region.dtype == np.uint8
    assert len({image.tobytes() for image, _ in views}) == 5
    assert len({region.tobytes() for _, region in views}) == 5


def test_without_augmentation_the_image_is_the_records():
    image, region = transforms.random_view(_rng(), _image(), LANDMARKS, 0.0, 0.0)
    np.testing.assert_array_equal(image, _image())
    # The mask is random all the same, and covers most of the face.
    face = mask.face_mask(LANDMARKS, SIZE) == 1.0
    assert np.mean(region[face] > 127) > 0.7


def test_certain_flip_flips_image_and_mask_together():
    """The mask is drawn from the mirrored points, not the old ones."""
    turned = LANDMARKS.copy()
    turned[2, 0] += 4  # a nose far to the right: a face seen from its left
    _, region = transforms.random_view(_rng(3), _image(), turned, 0.0, 0.0)
    _, mirrored = transforms.random_view(_rng(3), _image(), turned, 1.0, 0.0)
    columns = np.arange(SIZE)

    def center(region):
        return (region.sum(0) @ columns) / region.sum()

    assert (center(region) - SIZE / 2) * (center(mirrored) - SIZE / 2) < 0
