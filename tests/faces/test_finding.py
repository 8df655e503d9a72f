"""Two detectors that doubt: when a place may be a face."""

import numpy as np
import pytest

from id2face_jax.faces import finding
from id2face_jax.faces.detect import Detection

PICTURE = np.zeros((200, 200, 3), np.uint8)
PLACE, ELSEWHERE = (10.0, 10.0, 60.0, 70.0), (120.0, 100.0, 170.0, 160.0)


def seen(box, score):
    """A detector that sees one face, in pictures of the given size."""

    def detector(image, threshold):
        if image.shape != PICTURE.shape or score <= threshold:
            return []
        middle = np.float32([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        return [Detection(np.float32(box), score, np.repeat(middle[None], 5, axis=0))]

    return detector


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0.0, 0.55, True),  # the second is sure
        (0.0, 0.45, False),
        (0.07, 0.45, True),  # both see something
        (0.03, 0.45, False),
        (0.07, 0.25, False),
    ],
)
def test_what_one_detector_doubts_the_other_confirms(first, second, expected):
    detectors = seen(PLACE, first), seen(PLACE, second)
    found = finding.doubtful(detectors[0], PICTURE, 0.2, [], detectors[1])
    assert len(found) == expected


def test_detectors_agree_only_about_one_place():
    args = (seen(ELSEWHERE, 0.07), PICTURE, 0.2)
    assert not finding.doubtful(*args, [], seen(PLACE, 0.45))


def test_known_faces_are_no_doubtful_ones():
    (known,) = seen(PLACE, 0.9)(PICTURE, 0.5)
    assert not finding.doubtful(
        seen(PLACE, 0.9), PICTURE, 0.2, [known], seen(PLACE, 0.9)
    )


POINTS = np.float32([[22, 30], [48, 30], [35, 42], [25, 55], [45, 55]])


def doubting(close, shift=0.0):
    """A detector in doubt of a face, and with the score `close` in a large view of it.

    shift: pixels by which the face is further left.
    """

    def detector(image, threshold):
        if image.shape == PICTURE.shape:
            left = np.float32([shift, 0])
            box = np.float32(PLACE) - np.tile(left, 2)
            face = Detection(box, 0.15, POINTS - left)
        elif image.shape[0] != 256:  # at half its size, say
            return []
        else:
            middle = np.float32(image.shape[1::-1]) / 2
            points = (POINTS - POINTS.mean(axis=0)) * 2 + middle
            box = np.concatenate([middle - 60, middle + 60])
            face = Detection(box, close, points)
        return [face] if face.score > threshold else []

    return detector


@pytest.mark.parametrize(
    ("close", "shift", "expected"),
    [
        (0.3, 0.0, True),  # a face that is small or turned
        (0.12, 0.0, False),  # hair
        (0.12, 9.0, True),  # at the border nobody can look closer
    ],
)
def test_doubt_goes_by_a_closer_look(close, shift, expected):
    found = finding.doubtful(doubting(close, shift), PICTURE, 0.2, [])
    assert len(found) == expected


def test_place_that_is_known_to_be_doubtful_needs_no_closer_look():
    (place,) = seen(PLACE, 0.25)(PICTURE, 0.2)
    assert finding.doubtful(seen(PLACE, 0.25), PICTURE, 0.2, [], places=[place])
