"""Laws of the DDIM sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.diffusion import ddim, schedule


def _noise(batch=3, seed=0):
    draw = np.random.default_rng(seed).normal(size=(batch, 4, 4, 2))
    return jnp.asarray(draw, jnp.float32)


@pytest.mark.parametrize("num_steps", [1, 2, 7, 50])
def test_perfect_denoiser_returns_the_clean_image(num_steps):
    x0 = _noise(seed=1)
    out = ddim.sample(lambda xt, t: x0, _noise(), num_steps)
    np.testing.assert_allclose(out, x0, atol=1e-6)


def test_one_step_is_the_first_estimate():
    noise = _noise()
    out = ddim.sample(lambda xt, t: 0.3 * xt + t[:, None, None, None], noise, 1)
    np.testing.assert_allclose(out, 0.3 * noise + 1.0, atol=1e-6)


def test_times_run_from_noise_to_image():
    times = ddim.times(4)
    np.testing.assert_allclose(times, [1.0, 0.75, 0.5, 0.25, 0.0])


def test_the_denoiser_sees_each_time_but_the_last():
    """It is asked at t_0 ... t_{n-1}, never at t = 0, where nothing is left to do."""
    seen = []

    def denoise(xt, t):
        jax.debug.callback(lambda value: seen.append(float(value)), t[0], ordered=True)
        return xt

    jax.block_until_ready(ddim.sample(denoise, _noise(), 4))
    jax.effects_barrier()
    np.testing.assert_allclose(seen, [1.0, 0.75, 0.5, 0.25])


def _gaussian_denoiser(std):
    """The exact posterior mean of x0 ~ N(0, std^2)."""

    def denoise(xt, t):
        alpha, sigma = (s[:, None, None, None] for s in schedule.alpha_sigma(t))
        return alpha * std**2 / (alpha**2 * std**2 + sigma**2) * xt

    return denoise


@pytest.mark.parametrize("std", [0.5, 2.0])
def test_a_gaussian_comes_out_with_its_own_scale(std):
    """The exact flow maps noise z to std * z; many steps get there."""
    noise = _noise()
    out = ddim.sample(_gaussian_denoiser(std), noise, 2000)
    # A first-order solver: the error falls as 1/steps.
    np.testing.assert_allclose(out, std * noise, rtol=5e-3)


def test_more_steps_are_nearer_to_the_exact_flow():
    noise = _noise()
    errors = [
        float(
            jnp.max(
                jnp.abs(ddim.sample(_gaussian_denoiser(0.5), noise, n) - 0.5 * noise)
            )
        )
        for n in (5, 20, 80)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_rows_do_not_depend_on_their_batch():
    """eta = 0: a picture depends on its own start noise alone."""
    noise, denoise = _noise(4), _gaussian_denoiser(0.7)
    whole = ddim.sample(denoise, noise, 8)
    alone = ddim.sample(denoise, noise[2:3], 8)
    np.testing.assert_allclose(whole[2:3], alone, atol=1e-6)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps is 0; the sampler needs at least 1"):
        ddim.sample(lambda xt, t: xt, _noise(), 0)
