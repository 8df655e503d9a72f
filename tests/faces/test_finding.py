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
        (0.15, 0.0, True),  # the first is in doubt
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
