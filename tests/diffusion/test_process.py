"""Laws of mixing and of the conversions among predictions."""

import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.diffusion import process, schedule
from tests.draws import normal

# Away from the ends, where eq. 4 or eq. 5 has no value.
T = jnp.array([0.05, 0.3, 0.5, 0.8, 0.95])
SPREAD = np.array([3.0, 1.0, 0.3], np.float32)


def predict(kind: str) -> process.Prediction:
    """Of images with three channels."""
    return process.Prediction(kind, SPREAD)


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
    output = predict(kind).target(x0, eps, alpha, sigma)
    # eps divides by alpha(0.95) = 0.08, which multiplies the rounding.
    np.testing.assert_allclose(
        predict(kind).to_x0(output, xt, alpha, sigma), x0, atol=1e-5
    )


def test_the_noise_comes_back_from_the_clean_image(mixed):
    x0, eps, xt, alpha, sigma = mixed
    np.testing.assert_allclose(process.to_eps(x0, xt, alpha, sigma), eps, atol=1e-5)


def test_v_has_unit_variance_at_every_time(mixed):
    _, _, _, alpha, sigma = mixed
    x0, eps = normal(5, 50_000), normal(5, 50_000, seed=1)
    v = predict("v").target(x0, eps, alpha, sigma)
    np.testing.assert_allclose(jnp.var(v, axis=1), 1.0, atol=0.03)  # 5 sd of 50,000


def test_v_keeps_its_meaning_at_pure_noise():
    """At t = 1, v is -x0: the network predicts the image even from pure noise."""
    x0, eps = jnp.full((1, 2, 2, 1), 0.3), jnp.full((1, 2, 2, 1), -0.7)
    v = predict("v").target(x0, eps, *schedule.alpha_sigma(jnp.ones(1)))
    np.testing.assert_allclose(v, -x0, atol=1e-6)


def test_the_scaled_network_sees_no_noise_at_the_end_and_the_image_at_the_start(mixed):
    x0, eps, *_ = mixed
    for time, sees in ((jnp.ones(5), 0.0), (jnp.zeros(5), x0)):
        alpha, sigma = schedule.alpha_sigma(time)
        xt = process.mix(x0, eps, alpha, sigma)
        seen = predict("scaled_x0").network_input(xt, alpha, sigma)
        np.testing.assert_allclose(seen, sees, atol=1e-6)


def test_the_scaled_input_is_the_best_linear_guess():
    """Among all multiples of x_t, for unit variance: the error is least at alpha."""
    x0, eps = normal(5, 50_000), normal(5, 50_000, seed=1)
    alpha, sigma = schedule.alpha_sigma(jnp.linspace(0.1, 0.9, 5))
    xt = process.mix(x0, eps, alpha, sigma)
    guess = predict("scaled_x0").network_input(xt, alpha, sigma)
    error = jnp.mean((guess - x0) ** 2, axis=1)
    for factor in (0.8, 1.2):
        assert jnp.all(error < jnp.mean((factor * guess - x0) ** 2, axis=1))


@pytest.mark.parametrize("kind", ["v", "x0", "eps"])
def test_all_other_networks_see_the_noisy_image(mixed, kind):
    _, _, xt, alpha, sigma = mixed
    np.testing.assert_array_equal(predict(kind).network_input(xt, alpha, sigma), xt)


@pytest.mark.parametrize("kind", ["scaled_x0", "v", "x0"])
def test_weighted_errors_of_all_predictions_are_those_of_v(mixed, kind):
    x0, eps, xt, alpha, sigma = mixed
    output = predict(kind).target(x0, eps, alpha, sigma)
    error = normal(*x0.shape, seed=3)
    wrong = predict(kind).to_x0(output + error, xt, alpha, sigma)
    v = [
        predict("v").target(x, process.to_eps(x, xt, alpha, sigma), alpha, sigma)
        for x in (x0, wrong)
    ]
    weighted = predict(kind).weight(sigma, limit=1e6)[:, None, None, None] * error**2
    np.testing.assert_allclose(weighted, (v[1] - v[0]) ** 2, rtol=2e-2, atol=1e-3)


def test_the_weight_has_a_limit_where_there_is_nothing_to_predict():
    weight = predict("x0").weight(jnp.array([0.0, 0.01, 1.0]), limit=25.0)
    np.testing.assert_allclose(weight, [25.0, 25.0, 1.0])


def _faces(t: float, num: int = 50_000):
    """(x0, eps, xt, alpha, sigma) of pixels with the spread of SPREAD, at time t."""
    x0, eps = normal(num, 3) * SPREAD, normal(num, 3, seed=1)
    alpha, sigma = schedule.alpha_sigma(jnp.full((num,), t))
    return x0, eps, process.mix(x0, eps, alpha, sigma), alpha, sigma


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_an_untrained_preconditioned_network_is_the_best_linear_guess(t):
    """Channel by channel: no other multiple of x_t is nearer to the image."""
    x0, _, xt, alpha, sigma = _faces(t)
    guess = predict("preconditioned").to_x0(jnp.zeros_like(xt), xt, alpha, sigma)
    error = jnp.mean((guess - x0) ** 2, axis=0)
    for factor in (0.7, 1.3):  # farther than sampling noise reaches, at t = 0.95 too
        assert jnp.all(error < jnp.mean((factor * guess - x0) ** 2, axis=0))


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95, 1.0])
def test_what_a_preconditioned_network_must_say_has_unit_variance(t):
    x0, eps, _, alpha, sigma = _faces(t)
    target = predict("preconditioned").target(x0, eps, alpha, sigma)
    np.testing.assert_allclose(jnp.var(target, axis=0), 1.0, atol=0.03)


def test_a_preconditioned_network_sees_the_image_at_the_start_and_nothing_at_the_end():
    for t, share in ((0.0, 1.0), (1.0, 0.0)):
        x0, _, xt, alpha, sigma = _faces(t, num=10)
        seen = predict("preconditioned").network_input(xt, alpha, sigma)
        np.testing.assert_allclose(seen, share * x0 / SPREAD, atol=1e-5)


def test_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match="'score' is unknown; use one of"):
        process.Prediction("score")
    with pytest.raises(ValueError, match="needs sigma_data"):
        process.Prediction("preconditioned")
