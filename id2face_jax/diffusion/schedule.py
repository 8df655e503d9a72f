"""The noise schedule: how much signal and noise a time t holds.

Owns alpha(t) and sigma(t). Leaves mixing and the conversions among predictions to
`process`, and stepping to `ddim`.

Variance preserving, cosine (Nichol & Dhariwal 2021, without their offset), with
the log-SNR shift of simple diffusion (Hoogeboom et al. 2023, eq. 4). With
theta = pi t / 2 and shift s:

    (1)  angle(t)  = atan2(sin theta, s cos theta)
    (2)  alpha     = cos angle,  sigma = sin angle     so alpha^2 + sigma^2 = 1
    (3)  log(alpha^2 / sigma^2) = -2 log tan theta + 2 log s

alpha(1) = 0 up to float rounding: the terminal SNR is zero, so sampling starts
from pure noise, as training saw it (Lin et al. 2023).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def alpha_sigma(
    t: Float[Array, "*b"], shift: float = 1.0
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Signal and noise scale at time t in [0, 1] (eqs. 1 and 2).

    shift > 1 keeps more signal at the same t, shift < 1 more noise.
    """
    theta = 0.5 * jnp.pi * t
    angle = jnp.arctan2(jnp.sin(theta), shift * jnp.cos(theta))
    return jnp.cos(angle), jnp.sin(angle)
