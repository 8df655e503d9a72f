"""Laws of the autoencoder: a fixed transform down, a learned refinement up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

from id2face_jax.models import autoencoder
from id2face_jax.models.autoencoder import Autoencoder
from tests.draws import normal, random_params

CHANNELS = 24
SMALL = Autoencoder(CHANNELS, (8, 16), (1, 1))
FACTORS = (8, 10)


def analyze(x, channels: int = CHANNELS, factor: int = 8):
    """E, with cells of 8 pixels."""
    return autoencoder.analyze(x, factor, channels)


def synthesize(z, factor: int = 8):
    """Its inverse."""
    return autoencoder.synthesize(z, factor)


@pytest.fixture(scope="module")
def face():
    """The public-domain astronaut's face, 128 px, in [-1, 1]."""
    crop = skimage.data.astronaut()[40:168, 160:288]
    return jnp.asarray(crop[None] / 127.5 - 1.0, jnp.float32)


@pytest.fixture(scope="module")
def params():
    return random_params(SMALL, jnp.zeros((1, 32, 32, 3)), scale=0.05)


@pytest.mark.parametrize("factor", FACTORS)
def test_analysis_inverts_synthesis(factor):
    """The basis is orthonormal: what is synthesized is found again exactly."""
    z = normal(2, 4, 4, CHANNELS)
    again = analyze(synthesize(z, factor), CHANNELS, factor)
    np.testing.assert_allclose(again, z, atol=1e-4)


def test_projection_is_idempotent_and_never_adds_energy(face):
    once = synthesize(analyze(face, CHANNELS))
    twice = synthesize(analyze(once, CHANNELS))
    np.testing.assert_allclose(twice, once, atol=1e-4)
    # Flat gray keeps its exact value, whatever the companding.
    flat = jnp.full((1, 16, 16, 3), 0.25)
    kept = synthesize(analyze(flat, CHANNELS))
    np.testing.assert_allclose(kept, flat, atol=1e-5)


def test_more_coefficients_bring_the_face_nearer(face):
    errors = [
        float(jnp.mean((synthesize(analyze(face, n)) - face) ** 2))
        for n in (3, 6, 12, 24)
    ]
    assert errors == sorted(errors, reverse=True)
    psnr = 10 * np.log10(4 / errors[-1])
    assert psnr > 27  # this crop is sharper and busier than LFW's


def test_latent_of_a_face_is_of_order_one(face):
    z = analyze(face, CHANNELS)
    assert z.shape == (1, 16, 16, CHANNELS)
    assert 0.3 < float(jnp.sqrt(jnp.mean(z**2))) < 3.0


def test_a_shift_by_one_cell_shifts_the_latent(face):
    z = analyze(face, CHANNELS)
    moved = analyze(jnp.roll(face, 8, axis=2), CHANNELS)
    np.testing.assert_allclose(moved[:, :, 1:], z[:, :, :-1], atol=1e-5)


def test_decoder_starts_as_the_inverse_transform():
    x = normal(1, 32, 32, 3)
    start = jax.jit(SMALL.init)(jax.random.key(0), x)
    z = SMALL.apply(start, x, method="encode")
    out = jax.jit(lambda v, z: SMALL.apply(v, z, method="decode"))(start, z)
    assert out.shape == (1, 32, 32, 3) and out.dtype == jnp.float32
    np.testing.assert_allclose(out, synthesize(z), atol=1e-6)


def test_only_the_decoder_has_parameters(params):
    assert set(params["params"]) == {"decoder"}


def test_decoder_sees_over_the_borders_of_cells(params):
    decode = jax.jit(lambda z: SMALL.apply(params, z, method="decode"))
    z = normal(1, 4, 4, CHANNELS)
    change = decode(z.at[0, 1, 1].add(1.0)) - decode(z)
    assert np.abs(change[0, 16:24, 8:16]).max() > 1e-4  # the cell below


def test_bfloat16_is_close_to_float32(params):
    rough = Autoencoder(CHANNELS, (8, 16), (1, 1), dtype=jnp.bfloat16)
    z = normal(2, 4, 4, CHANNELS)
    exact, near = (
        jax.jit(lambda z, m=m: m.apply(params, z, method="decode"))(z)
        for m in (SMALL, rough)
    )
    assert near.dtype == jnp.float32
    # The network's part alone is bfloat16: 8 bits, a handful of roundings.
    refined = exact - synthesize(z)
    assert jnp.mean(jnp.abs(near - exact)) < 0.03 * jnp.std(refined)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_spread_of_latents_falls_from_channel_to_channel_around_one(factor):
    spread = autoencoder.sigma_data(factor, CHANNELS)
    assert np.all(np.diff(spread) <= 0)
    np.testing.assert_allclose(np.mean(spread**2), 1.0, rtol=1e-5)


def test_larger_cells_make_a_smaller_latent_and_come_back_to_the_size():
    coarse = Autoencoder(CHANNELS, (8, 16), (1, 1), factor=10)
    x = normal(1, 40, 40, 3)
    params = random_params(coarse, x, scale=0.05)
    z = coarse.apply(params, x, method="encode")
    assert z.shape == (1, 4, 4, CHANNELS)
    assert coarse.apply(params, z, method="decode").shape == x.shape


def test_cells_of_another_size_are_refused():
    with pytest.raises(ValueError, match="autoencoder.factor is 9; use one of"):
        autoencoder.sigma_data(9, CHANNELS)


def test_a_size_that_is_no_multiple_of_the_cell_is_refused():
    with pytest.raises(ValueError, match="image is 30x30 px; .* multiples of 8"):
        SMALL.apply({"params": {}}, jnp.zeros((1, 30, 30, 3)), method="encode")


@pytest.mark.parametrize("channels", [0, 25])
def test_a_count_of_channels_that_is_not_there_is_refused(channels):
    with pytest.raises(ValueError, match=f"latent_channels is {channels}; .* 1 to 24"):
        analyze(jnp.zeros((1, 8, 8, 3)), channels)
