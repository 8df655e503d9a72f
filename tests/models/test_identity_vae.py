"""Laws of the identity VAE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.models.identity_vae import GaussianIdentity, IdentityVAE, unit
from tests.draws import normal, random_params

VAE = IdentityVAE(embedding_dim=16, latent_dim=8, hidden_dim=32)


@pytest.fixture(scope="module")
def params():
    return random_params(VAE, jnp.zeros((1, 16)))


def _encode(vae, params, f):
    return jax.jit(lambda f: vae.apply(params, f, method="encode"))(f)


def _decode(vae, params, u):
    return jax.jit(lambda u: vae.apply(params, u, method="decode"))(u)


def test_decoded_embeddings_are_on_the_sphere(params):
    f_hat = _decode(VAE, params, 10 * normal(20, 8))
    assert f_hat.shape == (20, 16)
    np.testing.assert_allclose(jnp.linalg.norm(f_hat, axis=-1), 1.0, atol=1e-5)


def test_posterior_is_of_the_latents_shape_and_bounded(params):
    mu, logvar = _encode(VAE, params, unit(normal(20, 16)))
    assert mu.shape == logvar.shape == (20, 8)
    assert np.all((logvar >= -8.0) & (logvar <= 4.0))
    huge = jax.tree.map(lambda p: 100 * p, params)
    _, logvar = _encode(VAE, huge, unit(normal(20, 16)))
    assert np.all((logvar >= -8.0) & (logvar <= 4.0))


def test_latents_and_embeddings_tell_each_other_apart(params):
    mu, _ = _encode(VAE, params, unit(normal(2, 16)))
    assert np.abs(mu[0] - mu[1]).max() > 1e-2
    f_hat = _decode(VAE, params, normal(2, 8))
    assert np.abs(f_hat[0] - f_hat[1]).max() > 1e-2


def test_call_is_decode_of_the_mean(params):
    f = unit(normal(3, 16))
    mu, _ = _encode(VAE, params, f)
    np.testing.assert_allclose(
        jax.jit(VAE.apply)(params, f), _decode(VAE, params, mu), atol=1e-6
    )


def test_posterior_is_float32_and_close_in_bfloat16(params):
    rough = IdentityVAE(16, 8, 32, dtype=jnp.bfloat16)
    f = unit(normal(50, 16))
    exact, near = _encode(VAE, params, f)[0], _encode(rough, params, f)[0]
    assert near.dtype == jnp.float32
    assert jnp.mean(jnp.abs(near - exact)) < 0.02 * jnp.std(exact)


def test_unit_of_zero_is_zero():
    np.testing.assert_array_equal(unit(jnp.zeros((2, 4))), 0.0)


def test_without_a_learned_space_the_embedding_is_the_latent():
    plain, f = GaussianIdentity(16, 16), unit(normal(20, 16))
    mu, logvar = plain.apply({}, f, method="encode")
    np.testing.assert_allclose(plain.apply({}, mu, method="decode"), f, atol=1e-6)
    assert np.exp(0.5 * logvar).max() < 0.02  # hardly any noise
    np.testing.assert_allclose(jnp.mean(mu**2), 1.0, rtol=1e-5)  # as N(0, 1) has


def test_without_a_learned_space_the_sizes_must_agree():
    with pytest.raises(ValueError, match="identity_dim is 8 and model.embedding_dim"):
        GaussianIdentity(16, 8)
