"""Known answers of the picture figures."""

import numpy as np
import pytest
from scipy import linalg

from id2face_jax.evaluation.metrics import quality


def test_frechet_distance_has_its_closed_form():
    rng = np.random.default_rng(0)
    a, b = (
        rng.normal(size=(400, 6)),
        rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)),
    )
    root = linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(
        np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root.real
    )
    assert quality.FrechetDistance(b)(a) == pytest.approx(expected, rel=1e-6)
    assert quality.FrechetDistance(a)(a) == pytest.approx(0, abs=1e-9)
    assert quality.FrechetDistance(a)(a + 2.0) == pytest.approx(24, rel=1e-6)


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 8))
    same = [
        quality.KernelDistance(rng.normal(size=(200, 8)), a)(np.arange(200))
        for _ in range(5)
    ]
    moved = quality.KernelDistance(a + 0.5, a)(np.arange(200))
    assert abs(np.mean(same)) < 0.05 < moved
    assert np.isnan(quality.KernelDistance(a, a)(np.zeros(5, int)))  # one photo, again
    # Drawing everyone twice adds nothing that was not there.
    distance = quality.KernelDistance(a + 0.5, a)
    twice = np.repeat(np.arange(200), 2)
    assert distance(twice) == pytest.approx(moved, rel=0.02)


def test_outside_of_the_mask_nothing_changed_is_the_cap(pictures):
    images, masks = pictures
    outputs = images.copy()
    outputs[masks >= 0.5] = 0
    figures = quality.outside_figures(images, outputs, masks)
    np.testing.assert_array_equal(figures["psnr"], quality.PSNR_CAP)
    np.testing.assert_allclose(figures["lpips"], 0, atol=1e-7)


def test_noise_outside_of_the_mask_has_its_psnr(pictures):
    images, masks = pictures
    images = np.clip(images, 20, 230)
    sign = np.random.default_rng(1).choice([-10, 10], images.shape)
    outputs = (images + sign).astype(np.uint8)
    figures = quality.outside_figures(images, outputs, masks)
    np.testing.assert_allclose(figures["psnr"], 10 * np.log10(255**2 / 100), rtol=1e-6)
    assert np.all(figures["ssim"] < 1) and np.all(figures["lpips"] > 0)


def test_seam_is_one_untouched_more_when_cut_less_when_smeared(pictures):
    images, masks = pictures
    assert quality.seam_score(images, images, masks) == pytest.approx(np.ones(6))
    hard = (masks >= 0.5).astype(np.float32)
    cut = np.where(hard[..., None] > 0, 255 - images // 2, images // 2)
    smeared = np.full_like(images, 128)
    assert np.all(quality.seam_score(images, cut.astype(np.uint8), hard) > 1)
    assert np.all(quality.seam_score(images, smeared, hard) < 0.1)


def test_change_inside_counts_grey_levels_inside_alone(pictures):
    images, masks = pictures
    images = np.clip(images, 0, 250)
    outputs = images + np.uint8(3)
    outputs[masks <= 0.99] = 0
    np.testing.assert_allclose(quality.change_inside(images, outputs, masks), 3.0)
