"""The controls change what they say, and nothing else."""

import numpy as np
import pytest

from id2face_jax.evaluation.methods import baselines
from id2face_jax.evaluation.people import face_box
from id2face_jax.faces import align


def test_controls_change_the_face_box_and_nothing_else():
    image = np.random.default_rng(0).integers(1, 255, (1, 128, 128, 3)).astype(np.uint8)
    rows, columns = face_box(128, align.template(128))
    box = np.zeros((128, 128), bool)
    box[rows, columns] = True
    for control in (baselines.black, baselines.blur, baselines.pixelate):
        out = control(image, (rows, columns))
        np.testing.assert_array_equal(out[0, ~box], image[0, ~box])
        assert np.mean(out[0, box] == image[0, box]) < 0.1
    assert np.all(baselines.black(image, (rows, columns))[0, box] == 0)
    # The box covers what a recognizer's 112 px view shows of the face.
    assert (columns.stop - columns.start) / 128 == pytest.approx(116 / 160, abs=0.01)


def test_swap_pastes_the_donor_in_the_sources_light(pictures):
    images, masks = pictures
    donors = np.clip(images[::-1] // 2 + 10, 0, 255).astype(np.uint8)
    out = baselines.swap(images, donors, masks)
    np.testing.assert_array_equal(out[masks == 0], images[masks == 0])
    weight = masks[..., None]
    means = [(weight * x).sum((1, 2)) / weight.sum((1, 2)) for x in (out, images)]
    np.testing.assert_allclose(*means, atol=12)  # the rim keeps some of the source
