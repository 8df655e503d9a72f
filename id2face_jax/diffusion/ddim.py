"""The DDIM sampler: one deterministic pass from noise to x0 under `jax.lax.scan`.

Owns the steps and their times. Knows nothing of models: it is given a function
from (x_t, t) to an estimate of x0.

With times 1 = t_0 > t_1 > ... > t_n = 0, x0_hat = f(x_t, t) and
eps_hat = (x_t - alpha_t x0_hat) / sigma_t, one step is (Song et al. 2021, eq. 12
with eta = 0, written with alpha for their sqrt(alpha)):

    (1)  x_s = alpha_s x0_hat + sigma_s eps_hat

so the last step (s = 0) returns x0_hat itself. eta is fixed at 0: the picture of a
face then depends on its own start noise alone, which is what makes a result
independent of batch size and order.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from id2face_jax.diffusion import process, schedule


def times(num_steps: int) -> Float[Array, " steps"]:
    """num_steps + 1 evenly spaced times from 1 to 0 ("trailing" spacing)."""
    if num_steps < 1:
        raise ValueError(f"steps is {num_steps}; the sampler needs at least 1")
    return jnp.linspace(1.0, 0.0, num_steps + 1)


def sample(
    denoise: Callable[[Array, Array], Array],
    noise: Float[Array, "b ..."],
    num_steps: int,
    alpha_sigma: Callable = schedule.alpha_sigma,
) -> Float[Array, "b ..."]:
    """x0 from start noise by `num_steps` DDIM steps (eq. 1).

    Args:
      denoise: maps x_t (b, ...) and t (b,) to an estimate of x0 (b, ...).
      noise: x at t = 1, standard normal.
      num_steps: network evaluations, at least 1.
      alpha_sigma: the noise schedule, t -> (alpha, sigma), as in training.
    """
    grid = times(num_steps)
    batch = noise.shape[:1]

    def step(xt, span):
        t, s = (jnp.broadcast_to(value, batch) for value in span)
        alpha_t, sigma_t = alpha_sigma(t)
        alpha_s, sigma_s = alpha_sigma(s)
        x0 = denoise(xt, t)
        eps = process.to_eps(x0, xt, alpha_t, sigma_t)
        return process.mix(x0, eps, alpha_s, sigma_s), None

    x0, _ = jax.lax.scan(step, noise, (grid[:-1], grid[1:]))
    return x0
