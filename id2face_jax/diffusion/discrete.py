"""Stable Diffusion's noise schedule: a table of 1000 betas, readable at any time.

A converted Stable Diffusion UNet knows the noise levels of this table and is told
them by their number, so this stands in for `schedule` where such a UNet must start
as itself (config.model.schedule = "stable_diffusion"). With i = 0 ... 999:

    (1)  beta_i  = (sqrt(b_0) + i/999 (sqrt(b_1) - sqrt(b_0)))^2   "scaled linear"
    (2)  abar_i  = product over j <= i of (1 - beta_j)
    (3)  step i stands at time t = (i + 1) / 1000, and t = 0 has abar = 1

so that `ddim.times` lands on the steps of diffusers' "trailing" spacing, and on its
set_alpha_to_one at the end. Between steps the angle of `schedule`, eq. 2 there, is
linear. Unlike the cosine schedule the terminal SNR is not zero (alpha(1) = 0.068),
which is what lets eps be predicted.
Source: Rombach et al. 2022, configs/stable-diffusion/v1-inference.yaml of CompVis.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NUM_STEPS = 1000
BETA_RANGE = (0.00085, 0.012)


def _angles() -> np.ndarray:
    betas = np.linspace(*np.sqrt(BETA_RANGE), NUM_STEPS) ** 2
    signal = np.concatenate([[1.0], np.cumprod(1.0 - betas)])
    return np.arctan2(np.sqrt(1.0 - signal), np.sqrt(signal))


def alpha_sigma(t: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Signal and noise scale at time t in [0, 1] (eqs. 1 to 3); float32."""
    table = jnp.asarray(_angles(), jnp.float32)
    angle = jnp.interp(t * NUM_STEPS, jnp.arange(NUM_STEPS + 1.0), table)
    return jnp.cos(angle), jnp.sin(angle)


def timestep(t: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The number of the step at time t, as the UNet's time embedding expects it.

    Fractions stand between steps; times below the first step count as step 0.
    """
    return jnp.maximum(t * NUM_STEPS - 1.0, 0.0)
