"""A recognizer sees of a crop what its view describes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from id2face_jax.faces import align
from id2face_jax.models.recognizers import crops
from id2face_jax.models.recognizers.mobilenet import MobileNet, StridedShiftConv
from tests.draws import random_like

VIEW = crops.View(
    size=80,
    units=112.0,
    center=(56.0, 60.0),
    channels="BGR",
    mean=(10.0, 20.0, 30.0),
    std=(2.0, 4.0, 8.0),
)
GEOMETRY = align.Geometry(136.0, (56.0, 68.0))


class Middle(nn.Module):
    """The pixel in the middle."""

    @nn.compact
    def __call__(self, x):
        return x[:, x.shape[1] // 2, x.shape[2] // 2]


def _recognizer(network, view=VIEW) -> crops.CropRecognizer:
    matrix = view.matrix(160, GEOMETRY.units, GEOMETRY.center)
    return crops.CropRecognizer(network, view, matrix)


def test_points_of_the_template_come_where_the_view_has_them():
    own = align.Geometry(VIEW.units, VIEW.center)
    matrix = VIEW.matrix(160, GEOMETRY.units, GEOMETRY.center)
    moved = align.transform_points(matrix, align.template(160, GEOMETRY))
    np.testing.assert_allclose(moved, align.template(80, own), atol=1e-4)


def test_pixels_come_in_the_form_that_the_view_has():
    color = np.float32([200.0, 100.0, 50.0])
    image = np.broadcast_to(color / 127.5 - 1.0, (1, 160, 160, 3))
    found = _recognizer(Middle()).raw({}, jnp.asarray(image))
    np.testing.assert_allclose(found[0], [20.0, 20.0, 21.25], atol=1e-3)


def test_vectors_are_centered_and_unit():
    image = jnp.zeros((1, 160, 160, 3))
    recognizer = _recognizer(Middle())
    raw = recognizer.raw({}, image)
    found = recognizer({"params": {}, "mean": raw[0] - jnp.array([3.0, 0, 4.0])}, image)
    np.testing.assert_allclose(found[0], [0.6, 0.0, 0.8], atol=1e-5)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_shifted_sums_are_the_grouped_convolution_of_tensorflow(size, stride):
    layer, x = (
        StridedShiftConv(stride),
        jax.random.normal(jax.random.key(0), (2, size, size, 5)),
    )
    params = random_like(jax.eval_shape(layer.init, jax.random.key(0), x)["params"])
    expected = jax.lax.conv_general_dilated(
        x,
        params["kernel"][:, :, None],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=5,
    )
    found = layer.apply({"params": params}, x)
    np.testing.assert_allclose(found, expected + params["bias"], atol=1e-5)


def test_what_it_sees_has_a_gradient_in_the_crop():
    network = MobileNet(stem=4, blocks=((8, 1), (8, 2)))
    image = jax.random.uniform(jax.random.key(1), (1, 160, 160, 3), minval=-1.0)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 80, 80, 3)))
    params = random_like(shapes["params"], scale=0.3)

    # Pixels of about unit size, which no ReLU6 cuts off.
    recognizer = _recognizer(network, dataclasses.replace(VIEW, std=(60.0,) * 3))

    def seen(x):
        return jnp.sum(recognizer.raw(params, x) ** 2)

    gradient = np.abs(jax.grad(seen)(image)).sum(-1)[0]
    assert np.mean(gradient[60:100, 60:100] > 0.0) > 0.9
    assert gradient[0, 0] == 0.0  # outside of the view
