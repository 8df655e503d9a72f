"""The port against dlib itself, and the map from our crop to its view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data

from id2face_jax.faces import align, dlib_file
from id2face_jax.models.recognizers import crops, dlib_resnet

MATRIX = dlib_resnet.view_matrix(128)


@pytest.fixture(scope="module")
def params() -> dict:
    return dlib_file.load_params()


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    """The astronaut's aligned crop; points as the detector finds them."""
    points = np.array([[203, 102], [247, 105], [223, 125], [203, 142], [241, 144.0]])
    return align.crop(data.astronaut(), align.crop_matrix(points, 128), 128)


def test_parity_with_dlib(params, crop):
    dlib = pytest.importorskip("dlib", reason="dlib-bin is for this test only")
    model = dlib.face_recognition_model_v1(str(dlib_file.weights_path()))
    view = np.asarray(
        crops.resample(jnp.asarray(crop[None], jnp.float32), MATRIX, dlib_resnet.VIEW)
    )
    view = np.clip(np.rint(view), 0, 255).astype(np.uint8)
    wanted = np.array(model.compute_face_descriptor(view[0]))
    apply = jax.jit(dlib_resnet.DlibResNet().apply)
    found = apply({"params": params}, jnp.asarray(view, jnp.float32))
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


@pytest.mark.parametrize("size", [64, 128, 256])
def test_the_view_does_not_depend_on_the_crops_size(size):
    points = align.template(size).astype(np.float64)
    found = align.transform_points(dlib_resnet.view_matrix(size), points)
    # data.md: x' = 1.4959 x + (-20.11, -44.21) from the 112-unit template plus 8.
    wanted = 1.4959 * (align.TEMPLATE_112 + 8) + [-20.11, -44.21]
    np.testing.assert_allclose(found, wanted, atol=0.01)


def test_the_jax_view_is_the_affine_map(crop):
    # A smooth picture, so that kernels agree and only places count.
    y, x = np.mgrid[:128, :128] / 128.0
    smooth = np.stack([x, y, x * y], axis=-1).astype(np.float32)
    view = np.asarray(
        crops.resample(jnp.asarray(smooth[None]), MATRIX, dlib_resnet.VIEW)
    )[0]
    back = align.invert(dlib_resnet.view_matrix(128))
    place = align.transform_points(back, np.array([[40.0, 100.0]]))[0] / 128
    np.testing.assert_allclose(view[100, 40, :2], place, atol=1e-4)


def test_embedding_a_crop_has_a_useful_gradient(params, crop):
    small = jax.image.resize(jnp.asarray(crop, jnp.float32), (32, 32, 3), "linear")
    x = (small / 127.5 - 1.0)[None]

    def square_length(x, params):
        return jnp.sum(jnp.square(dlib_resnet.embed_crops(params, x)))

    # Parameters as an argument: as constants they are folded, which takes longer.
    both = jax.jit(jax.value_and_grad(square_length))
    value, gradient = both(x, params)
    assert np.isfinite(gradient).all()
    step = 1e-2 * gradient / jnp.linalg.norm(gradient)
    assert both(x - step, params)[0] < value < both(x + step, params)[0]


def test_whitened_vectors_are_unit_and_a_zero_vector_is_no_nan():
    raw = np.stack([np.ones(4), np.arange(4.0), np.zeros(4)]).astype(np.float32)
    found = dlib_resnet.whiten(jnp.asarray(raw), jnp.zeros(4), jnp.eye(4))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize("length", [0, 1000, 60_000])
def test_another_file_is_refused(tmp_path, length):
    path = tmp_path / "weights.dat"
    path.write_bytes(dlib_file.weights_path().read_bytes()[:length])
    with pytest.raises(ValueError, match="is not dlib_face_recognition"):
        dlib_file.load_params(path)
