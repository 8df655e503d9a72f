"""What may be a face is hidden, is never given a new one, and costs no other face."""

import dataclasses

import numpy as np
import pytest

from id2face_jax.anonymize.report import schema
from id2face_jax.faces import align
from id2face_jax.faces.detect import CenterFaceDetector, Detection
from tests.anonymize import planted
from tests.anonymize.pipeline.test_anonymizer import PORTRAIT, make


@pytest.fixture(scope="module")
def detector():
    return CenterFaceDetector()


def test_face_cut_to_a_strip_by_the_border_is_blurred(detector):
    # A fifth of a face is left: less than the detector is sure of.
    cut = np.ascontiguousarray(np.concatenate([PORTRAIT, PORTRAIT[:, :102]], axis=1))
    result = make(detector, planted.other_face)(cut)
    alone = make(detector, planted.other_face)(PORTRAIT)
    assert result.state == "anonymized" and len(result.faces) == 1
    (strip,) = result.covered
    assert result.report["covered"][0]["score"] < 0.2 and not alone.covered
    left, top, right, bottom = np.clip(strip.box.astype(int), 0, 10_000)
    assert left > 256
    before, after = (
        image[top:bottom, left:right].astype(float) for image in (cut, result.image)
    )
    # Fine detail is gone: neighboring pixels differ a tenth as much.
    fine = [np.abs(np.diff(view, axis=0)).mean() for view in (before, after)]
    assert fine[1] < 0.3 * fine[0]


class Buttons:
    """Sees a button, too: a score of 0.3 where no face is, and less from near by."""

    box = np.float32([10, 180, 40, 220])

    def __init__(self, detector, box=box):
        self._detector, self._box = detector, box

    def __call__(self, image, threshold):
        found = self._detector(image, threshold)
        if image.shape == PORTRAIT.shape and threshold < 0.3:
            points = align.template(30) + self._box[:2]
            found.append(Detection(self._box, 0.3, points))
        return found


def test_doubt_is_covered_and_costs_the_main_face_nothing(detector):
    """No face is painted on a button, and no face has to stand away from it."""
    anonymizer = make(Buttons(detector), planted.other_face)
    result = anonymizer(PORTRAIT)
    alone = make(detector, planted.other_face)(PORTRAIT)
    assert result.state == "anonymized" and len(result.faces) == 1
    assert sum(len(r) for r in anonymizer.tools.generator.requests) == 1
    assert result.faces[0].cosine == alone.faces[0].cosine
    (place,) = result.covered
    assert schema.describe_place(place) == (
        "30 x 40 pixels at (10, 180), score 0.30 of 0.4"
    )
    left, top, right, bottom = place.box.astype(int)
    view = np.s_[top:bottom, left:right]
    assert np.abs(np.diff(result.image[view].astype(int), axis=0)).max() < 40
    assert np.any(result.image[view] != PORTRAIT[view])


def test_box_inside_a_known_face_is_part_of_it(detector):
    (face,) = detector(PORTRAIT, 0.5)
    inside = np.concatenate([face.box[:2] + 20, face.box[:2] + 45])
    result = make(Buttons(detector, inside), planted.other_face)(PORTRAIT)
    assert result.state == "anonymized" and not result.covered


def test_doubt_alone_is_hidden_and_said(detector):
    empty = np.full(PORTRAIT.shape, 90, np.uint8)
    empty[190:210, 20:30] = 200
    result = make(Buttons(detector), planted.other_face)(empty)
    assert result.state == "fallback" and not result.faces and len(result.covered) == 1
    assert np.ptp(result.image[190:210, 15:35]) < 110


def test_small_face_that_is_sure_from_near_by_is_a_face(detector):
    picture = np.ascontiguousarray(PORTRAIT[:250])  # of another shape than the view

    def far(image, threshold):
        found = detector(image, threshold)
        if image.shape != picture.shape:
            return found
        return [dataclasses.replace(face, score=0.3) for face in found]

    result = make(far, planted.other_face)(picture)
    assert [face.state for face in result.faces] == ["anonymized"]


def test_doubtful_places_touch_no_face_that_is_done_or_kept(detector):
    class Doubting:
        """Sees one more face, of half the score, over the portrait's chin."""

        def __call__(self, image, threshold):
            found = detector(image, threshold)
            if image.shape == PORTRAIT.shape and threshold < 0.2:
                low = found[0].box + np.float32([0, 80, 0, 80])
                found.append(dataclasses.replace(found[0], box=low, score=0.15))
            return found

    result = make(Doubting(), planted.other_face)(PORTRAIT)
    plain = make(detector, planted.other_face)(PORTRAIT)
    assert len(result.covered) == 1 and result.state == "anonymized"
    mask = result.faces[0].mask
    views = [
        align.crop(r.image, result.faces[0].matrix, len(mask)) for r in (result, plain)
    ]
    inside = mask > 0.99
    np.testing.assert_array_equal(views[0][inside], views[1][inside])
    assert np.any(result.image != plain.image)
    kept = make(Doubting(), planted.other_face)(
        PORTRAIT, chooser=lambda faces: [False], on_no_face="copy"
    )
    np.testing.assert_array_equal(kept.image, PORTRAIT)
