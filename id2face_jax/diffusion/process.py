"""Mixing with noise, and the conversions among what a network may predict.

With x0 clean, eps ~ N(0, I), and alpha, sigma from `schedule`:

    (1)  x_t = alpha x0 + sigma eps
    (2)  v   = alpha eps - sigma x0            (Salimans & Ho 2022, appendix D)
    (3)  x0  = alpha x_t - sigma v,   eps = sigma x_t + alpha v
    (4)  eps = (x_t - alpha x0) / sigma        undefined at t = 0
    (5)  x0  = (x_t - sigma eps) / alpha       undefined at t = 1

Under "scaled_x0" the network predicts x0 and sees alpha x_t, the best linear guess of
x0 where channels have unit variance (Wiener). At t = 1 its input then holds no noise
that it must learn to ignore: it starts as a regression on the condition. From scratch
our model came as far in 150 steps as under "x0" in 500; "v" still showed noise there.

PREDICTIONS names the targets a configuration may choose. `eps` goes with `discrete`
alone: under `schedule` the terminal SNR is zero, and eq. 5 has no value at the step
sampling starts from.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

PREDICTIONS = ("scaled_x0", "x0", "v", "eps")


def _expand(scale: Float[Array, " b"], like: Float[Array, "b ..."]) -> Array:
    return scale.reshape(scale.shape + (1,) * (like.ndim - scale.ndim))


def mix(
    x0: Float[Array, "b ..."],
    eps: Float[Array, "b ..."],
    alpha: Float[Array, " b"],
    sigma: Float[Array, " b"],
) -> Float[Array, "b ..."]:
    """Clean images mixed with noise (eq. 1). Shape of x0."""
    return _expand(alpha, x0) * x0 + _expand(sigma, x0) * eps


def network_input(
    prediction: str, xt: Float[Array, "b ..."], alpha: Float[Array, " b"]
) -> Float[Array, "b ..."]:
    """What the network sees of x_t: alpha x_t for "scaled_x0", else x_t itself."""
    return _expand(alpha, xt) * xt if prediction == "scaled_x0" else xt


def target(
    prediction: str,
    x0: Float[Array, "b ..."],
    eps: Float[Array, "b ..."],
    alpha: Float[Array, " b"],
    sigma: Float[Array, " b"],
) -> Float[Array, "b ..."]:
    """What the network must output for `prediction` (eq. 2 for "v").

    Raises ValueError for a prediction that is not in PREDICTIONS.
    """
    if prediction in ("x0", "scaled_x0"):
        return x0
    if prediction == "eps":
        return eps
    if prediction == "v":
        return _expand(alpha, x0) * eps - _expand(sigma, x0) * x0
    raise ValueError(f"prediction {prediction!r} is unknown; use one of {PREDICTIONS}")


def to_x0(
    prediction: str,
    output: Float[Array, "b ..."],
    xt: Float[Array, "b ..."],
    alpha: Float[Array, " b"],
    sigma: Float[Array, " b"],
) -> Float[Array, "b ..."]:
    """The clean image that a network output stands for (eqs. 3 and 5).

    Raises ValueError for a prediction that is not in PREDICTIONS.
    """
    if prediction in ("x0", "scaled_x0"):
        return output
    if prediction == "eps":
        return (xt - _expand(sigma, xt) * output) / _expand(alpha, xt)
    if prediction == "v":
        return _expand(alpha, xt) * xt - _expand(sigma, xt) * output
    raise ValueError(f"prediction {prediction!r} is unknown; use one of {PREDICTIONS}")


def v_weight(
    prediction: str, sigma: Float[Array, " b"], limit: float
) -> Float[Array, " b"]:
    """What turns a squared error of the network's output into one of v (eq. 3).

    1 for "v" and, as is usual, for "eps". For x0 it is 1 / sigma^2, at most `limit`:
    so weighted, a prediction of x0 learns the fine detail of small t (as in Li & He
    2025), and t = 0, where there is nothing left to predict, does not rule the batch.
    """
    if prediction in ("x0", "scaled_x0"):
        return jnp.minimum(1.0 / jnp.maximum(jnp.square(sigma), 1e-6), limit)
    return jnp.ones_like(sigma)


def to_eps(
    x0: Float[Array, "b ..."],
    xt: Float[Array, "b ..."],
    alpha: Float[Array, " b"],
    sigma: Float[Array, " b"],
) -> Float[Array, "b ..."]:
    """The noise that explains x_t given x0 (eq. 4). sigma must be positive."""
    return (xt - _expand(alpha, xt) * x0) / jnp.maximum(_expand(sigma, xt), 1e-6)
