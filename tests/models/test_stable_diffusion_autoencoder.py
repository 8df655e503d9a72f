"""Laws of Stable Diffusion's autoencoder. Its arithmetic: tests/parity."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.models.stable_diffusion.autoencoder import StableAutoencoder
from tests.draws import normal, random_params

make = functools.partial(
    StableAutoencoder, 3, dims=(4, 8), depths=(1, 1), scale=0.5, groups=2
)
X = normal(2, 8, 8, 3)


def _apply(module, params, x, method):
    return jax.jit(lambda x: module.apply(params, x, method=method))(x)


@pytest.fixture(scope="module")
def params():
    return random_params(make(), X)


def test_latents_are_the_scaled_mean(params):
    mean, logvar = _apply(make(), params, X, "posterior")
    z = _apply(make(), params, X, "encode")
    assert z.shape == (2, 4, 4, 3) and z.dtype == jnp.float32
    np.testing.assert_allclose(z, 0.5 * mean, rtol=1e-5)
    assert np.all(np.abs(logvar + 5) <= 25)


def test_the_scale_goes_as_it_came(params):
    z = normal(2, 4, 4, 3)
    one = _apply(make(), params, z, "decode")
    other = _apply(make(scale=2.0), params, 4.0 * z, "decode")
    assert one.shape == X.shape
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_bfloat16_comes_out_as_float32(params):
    module = make(dtype=jnp.bfloat16)
    z = jax.eval_shape(lambda: module.apply(params, X, method="encode"))
    image = jax.eval_shape(lambda: module.apply(params, X))
    assert z.dtype == image.dtype == jnp.float32


def test_a_quantising_decoder_sees_codebook_vectors_alone():
    module = make(codebook=5, scale=1.0)
    params = random_params(module, X)
    table = params["params"]["quantize"]["embedding"]
    codes = table[jnp.array([[[0, 1], [2, 4]]])]
    nudged = codes + 1e-3 * normal(*codes.shape)
    np.testing.assert_array_equal(
        _apply(module, params, codes, "decode"),
        _apply(module, params, nudged, "decode"),
    )


def test_image_of_an_odd_size_is_an_error(params):
    with pytest.raises(ValueError, match="image is 9x9 px; .* multiples of 2"):
        make().apply(params, normal(1, 9, 9, 3), method="encode")


def test_factor_is_the_number_of_halvings():
    assert make().factor == 2
    assert make(dims=(4, 4, 4, 8), depths=(1,) * 4).factor == 8
