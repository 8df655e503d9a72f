"""Laws of mixing and of the conversions among predictions."""

import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.diffusion import process, schedule
from tests.draws import normal

# Away from the ends, where eq. 4 or eq. 5 has no value.
T = jnp.array([0.05, 0.3, 0.5, 0.8, 0.95])


@pytest.fixture
def mixed():
    """(x0, eps, xt, alpha, sigma) for five images at the times T."""
    x0, eps = normal(5, 4, 4, 3), normal(5, 4, 4, 3, seed=1)
    alpha, sigma = schedule.alpha_sigma(T)
    return x0, eps, process.mix(x0, eps, alpha, sigma), alpha, sigma


def test_mix_is_clean_at_the_start_and_noise_at_the_end(mixed):
    x0, eps, *_ = mixed
    ends = schedule.alpha_sigma(jnp.zeros(5)), schedule.alpha_sigma(jnp.ones(5))
    np.testing.assert_allclose(process.mix(x0, eps, *ends[0]), x0, atol=1e-6)
    np.testing.assert_allclose(process.mix(x0, eps, *ends[1]), eps, atol=1e-6)


@pytest.mark.parametrize("kind", process.PREDICTIONS)
def test_a_perfect_prediction_gives_back_the_clean_image(mixed, kind):
    x0, eps, xt, alpha, sigma = mixed
    output = process.target(kind, x0, eps, alpha, sigma)
    # eps divides by alpha(0.95) = 0.08, which multiplies the rounding.
    np.testing.assert_allclose(
        process.to_x0(kind, output, xt, alpha, sigma), x0, atol=1e-5
    )


def test_the_noise_comes_back_from_the_clean_image(mixed):
    x0, eps, xt, alpha, sigma = mixed
    np.testing.assert_allclose(process.to_eps(x0, xt, alpha, sigma), eps, atol=1e-5)


def test_v_has_unit_variance_at_every_time(mixed):
    _, _, _, alpha, sigma = mixed
    x0, eps = normal(5, 50_000), normal(5, 50_000, seed=1)
    v = process.target("v", x0, eps, alpha, sigma)
    np.testing.assert_allclose(jnp.var(v, axis=1), 1.0, atol=0.03)  # 5 sd of 50,000


def test_v_keeps_its_meaning_at_pure_noise():
    """At t = 1, v is -x0: the network predicts the image even from pure noise."""
    x0, eps = jnp.full((1, 2, 2, 1), 0.3), jnp.full((1, 2, 2, 1), -0.7)
    v = process.target("v", x0, eps, *schedule.alpha_sigma(jnp.ones(1)))
    np.testing.assert_allclose(v, -x0, atol=1e-6)


def test_the_scaled_network_sees_no_noise_at_the_end_and_the_image_at_the_start(mixed):
    x0, eps, *_ = mixed
    for time, sees in ((jnp.ones(5), 0.0), (jnp.zeros(5), x0)):
        alpha, sigma = schedule.alpha_sigma(time)
        xt = process.mix(x0, eps, alpha, sigma)
        seen = process.network_input("scaled_x0", xt, alpha)
        np.testing.assert_allclose(seen, sees, atol=1e-6)


def test_the_scaled_input_is_the_best_linear_guess():
    """Among all multiples of x_t, for unit variance: the error is least at alpha."""
    x0, eps = normal(5, 50_000), normal(5, 50_000, seed=1)
    alpha, sigma = schedule.alpha_sigma(jnp.linspace(0.1, 0.9, 5))
    xt = process.mix(x0, eps, alpha, sigma)
    guess = process.network_input("scaled_x0", xt, alpha)
    error = jnp.mean((guess - x0) ** 2, axis=1)
    for factor in (0.8, 1.2):
        assert jnp.all(error < jnp.mean((factor * guess - x0) ** 2, axis=1))


@pytest.mark.parametrize("kind", ["v", "x0", "eps"])
def test_all_other_networks_see_the_noisy_image(mixed, kind):
    _, _, xt, alpha, _ = mixed
    np.testing.assert_array_equal(process.network_input(kind, xt, alpha), xt)


@pytest.mark.parametrize("kind", ["scaled_x0", "v", "x0"])
def test_weighted_errors_of_all_predictions_are_those_of_v(mixed, kind):
    x0, eps, xt, alpha, sigma = mixed
    output = process.target(kind, x0, eps, alpha, sigma)
    error = normal(*x0.shape, seed=3)
    wrong = process.to_x0(kind, output + error, xt, alpha, sigma)
    v = [
        process.target("v", x, process.to_eps(x, xt, alpha, sigma), alpha, sigma)
        for x in (x0, wrong)
    ]
    weighted = process.v_weight(kind, sigma, limit=1e6)[:, None, None, None] * error**2
    np.testing.assert_allclose(weighted, (v[1] - v[0]) ** 2, rtol=2e-2, atol=1e-3)


def test_the_weight_has_a_limit_where_there_is_nothing_to_predict():
    weight = process.v_weight("x0", jnp.array([0.0, 0.01, 1.0]), limit=25.0)
    np.testing.assert_allclose(weight, [25.0, 25.0, 1.0])


def test_unknown_prediction_is_refused(mixed):
    x0, eps, xt, alpha, sigma = mixed
    with pytest.raises(ValueError, match="'score' is unknown; use one of"):
        process.target("score", x0, eps, alpha, sigma)
    with pytest.raises(ValueError, match="'score' is unknown; use one of"):
        process.to_x0("score", x0, xt, alpha, sigma)
