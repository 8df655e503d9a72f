"""Mixing with noise, and the conversions among what a network may predict.

With x0 clean, eps ~ N(0, I), and alpha, sigma from `schedule`:

    (1)  x_t = alpha x0 + sigma eps
    (2)  v   = alpha eps - sigma x0            (Salimans & Ho 2022, appendix D)
    (3)  x0  = alpha x_t - sigma v,   eps = sigma x_t + alpha v
    (4)  eps = (x_t - alpha x0) / sigma        undefined at t = 0
    (5)  x0  = (x_t - sigma eps) / alpha       undefined at t = 1

Under "preconditioned" the network corrects the best linear guess of x0. With s the
standard deviation of x0's channel over the data and q = alpha^2 s^2 + sigma^2 (Karras
et al. 2022, table 1, for a variance-preserving x_t and one s a channel):

    (6)  guess = alpha s^2 / q x_t             (Wiener)
    (7)  x0    = guess + s sigma / sqrt(q) F   F: the network's output, unit variance
    (8)  the network sees guess / s

so F = 0 is already the Wiener filter at every t, all noise levels and channels weigh
alike, and (8) holds no noise at t = 1, where x0 cannot depend on it. "scaled_x0" is the
older form: F is x0 itself, and the network sees alpha x_t.

PREDICTIONS names the targets a configuration may choose. `eps` goes with `discrete`
alone: under `schedule` the terminal SNR is zero, and eq. 5 has no value at the step
sampling starts from.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PREDICTIONS = ("preconditioned", "scaled_x0", "x0", "v", "eps")


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


def to_eps(
    x0: Float[Array, "b ..."],
    xt: Float[Array, "b ..."],
    alpha: Float[Array, " b"],
    sigma: Float[Array, " b"],
) -> Float[Array, "b ..."]:
    """The noise that explains x_t given x0 (eq. 4). sigma must be positive."""
    return (xt - _expand(alpha, xt) * x0) / jnp.maximum(_expand(sigma, xt), 1e-6)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network's output stands for.

    Attributes:
      kind: one of PREDICTIONS, or ValueError.
      sigma_data: (c,) standard deviation of each channel of x0 over the data; read by
        "preconditioned" alone.
    """

    kind: str
    sigma_data: Float[np.ndarray, " c"] | None = None

    def __post_init__(self):
        if self.kind not in PREDICTIONS:
            raise ValueError(
                f"prediction {self.kind!r} is unknown; use one of {PREDICTIONS}"
            )
        if self.kind == "preconditioned" and self.sigma_data is None:
            raise ValueError("prediction 'preconditioned' needs sigma_data")

    def _scales(self, like, alpha, sigma) -> tuple[Array, Array]:
        """(factor of x_t in eq. 6, factor of F in eq. 7)."""
        s = jnp.asarray(self.sigma_data, jnp.float32)
        alpha, sigma = _expand(alpha, like), _expand(sigma, like)
        total = jnp.square(alpha * s) + jnp.square(sigma)
        return alpha * s * s / total, s * sigma / jnp.sqrt(total)

    def network_input(
        self,
        xt: Float[Array, "b ..."],
        alpha: Float[Array, " b"],
        sigma: Float[Array, " b"],
    ) -> Float[Array, "b ..."]:
        """What the network sees of x_t (eq. 8 for "preconditioned")."""
        if self.kind == "preconditioned":
            return self._scales(xt, alpha, sigma)[0] / self.sigma_data * xt
        return _expand(alpha, xt) * xt if self.kind == "scaled_x0" else xt

    def target(
        self,
        x0: Float[Array, "b ..."],
        eps: Float[Array, "b ..."],
        alpha: Float[Array, " b"],
        sigma: Float[Array, " b"],
    ) -> Float[Array, "b ..."]:
        """What the network must output (eq. 2 for "v", eq. 7 for "preconditioned").

        For "preconditioned" sigma must be positive.
        """
        if self.kind == "eps":
            return eps
        if self.kind == "v":
            return _expand(alpha, x0) * eps - _expand(sigma, x0) * x0
        if self.kind == "preconditioned":
            keep, add = self._scales(x0, alpha, sigma)
            return (x0 - keep * mix(x0, eps, alpha, sigma)) / add
        return x0

    def to_x0(
        self,
        output: Float[Array, "b ..."],
        xt: Float[Array, "b ..."],
        alpha: Float[Array, " b"],
        sigma: Float[Array, " b"],
    ) -> Float[Array, "b ..."]:
        """The clean image that a network output stands for (eqs. 3, 5 and 7)."""
        if self.kind == "eps":
            return (xt - _expand(sigma, xt) * output) / _expand(alpha, xt)
        if self.kind == "v":
            return _expand(alpha, xt) * xt - _expand(sigma, xt) * output
        if self.kind == "preconditioned":
            keep, add = self._scales(xt, alpha, sigma)
            return keep * xt + add * output
        return output

    def weight(self, sigma: Float[Array, " b"], limit: float) -> Float[Array, " b"]:
        """What a squared error of the network's output is multiplied by.

        1 where the output has one scale at all times. For x0 it is 1 / sigma^2, at most
        `limit`, which makes it an error of v (eq. 3): so weighted, a prediction of x0
        learns the fine detail of small t (as in Li & He 2025), and t = 0, where there
        is nothing left to predict, does not rule the batch.
        """
        if self.kind in ("x0", "scaled_x0"):
            return jnp.minimum(1.0 / jnp.maximum(jnp.square(sigma), 1e-6), limit)
        return jnp.ones_like(sigma)
