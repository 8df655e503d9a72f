"""Laws of Stable Diffusion's schedule. Its table against diffusers': tests/parity."""

import jax.numpy as jnp
import numpy as np

from id2face_jax.diffusion import discrete

T = jnp.linspace(0.0, 1.0, 4001)


def test_variance_is_preserved():
    alpha, sigma = discrete.alpha_sigma(T)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=3e-7)  # float32


def test_signal_falls_from_all_of_it_to_the_terminal_snr():
    alpha, sigma = discrete.alpha_sigma(T)
    assert alpha[0] == 1.0 and sigma[0] == 0.0
    assert np.all(np.diff(alpha) < 1e-7) and np.all(np.diff(sigma) > 0)
    # abar_999 of Stable Diffusion is 0.0047 (Lin et al. 2023, table 1: sqrt = 0.068).
    np.testing.assert_allclose(alpha[-1], 0.0683, atol=1e-4)


def test_a_step_multiplies_the_signal_by_one_minus_beta():
    t = jnp.array([0.0, 0.001, 0.5, 0.501, 0.999, 1.0])
    alpha, _ = discrete.alpha_sigma(t)
    kept = np.asarray(alpha[1::2] / alpha[::2]) ** 2
    roots = np.sqrt(discrete.BETA_RANGE)
    beta = (roots[0] + np.array([0, 500, 999]) / 999 * (roots[1] - roots[0])) ** 2
    # float32 cosines near one: 1e-7 of alpha is 1e-4 of the first beta.
    np.testing.assert_allclose(1.0 - kept, beta, rtol=2e-3)


def test_step_numbers_start_at_zero():
    t = jnp.array([0.0, 0.001, 0.0015, 0.5, 1.0])
    np.testing.assert_allclose(
        discrete.timestep(t), [0.0, 0.0, 0.5, 499.0, 999.0], atol=1e-4
    )
