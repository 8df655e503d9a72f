"""Laws of the noise schedule."""

import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.diffusion import schedule

T = jnp.linspace(0.0, 1.0, 201)
INSIDE = jnp.linspace(0.005, 0.995, 199)
SHIFTS = (0.5, 1.0, 2.0)


@pytest.mark.parametrize("shift", SHIFTS)
def test_variance_is_preserved(shift):
    alpha, sigma = schedule.alpha_sigma(T, shift)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=3e-7)  # float32


@pytest.mark.parametrize("shift", SHIFTS)
def test_ends_are_pure_signal_and_pure_noise(shift):
    alpha, sigma = schedule.alpha_sigma(jnp.array([0.0, 1.0]), shift)
    np.testing.assert_allclose(alpha, [1.0, 0.0], atol=2e-7)
    np.testing.assert_allclose(sigma, [0.0, 1.0], atol=2e-7)


def logsnr(shift):
    alpha, sigma = schedule.alpha_sigma(INSIDE, shift)
    return np.asarray(2 * jnp.log(alpha / sigma))


@pytest.mark.parametrize("shift", SHIFTS)
def test_signal_to_noise_falls(shift):
    assert np.all(np.diff(logsnr(shift)) < 0)


def test_shift_moves_every_logsnr_by_the_same_amount():
    # atan2, cos and a ratio near the ends cost a few float32 ulps of values up to 14.
    moved = logsnr(2.0) - logsnr(1.0)
    np.testing.assert_allclose(moved, 2 * np.log(2.0), atol=1e-4)
