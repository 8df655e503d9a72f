"""The identity-guided latent harmonizer (IGLH): one gated fusion inside the UNet.

The paper states that identity and attributes are fused by soft gating conditioned on
the noisy feature prediction (abstract); the formula is ours:

    (1)  A   = gamma_a(a) * n + beta_a(a)        n = RMSNorm(h), attributes, spatial
    (2)  I   = gamma_u(u) * n + beta_u(u)        identity, broadcast over positions
    (3)  M   = sigmoid(Dense([n, temb]))         one value a position and channel
    (4)  out = (1 - M) * A + M * I
    (5)  out = A + I - n                           the ablation: no gate, a plain sum

The gate sees the current noisy feature and the time, so where identity enters may
change along the denoising. Gates are sown as intermediates ("gate_map") for plots.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.layers import resize_map, rms_norm
from id2face_jax.models.recomposer import Condition


def _affine(features: int, dtype: DTypeLike, name: str) -> nn.Dense:
    return nn.Dense(
        2 * features, kernel_init=nn.initializers.zeros, dtype=dtype, name=name
    )


class Harmonizer(nn.Module):
    """Normalises h and modulates it by attributes and identity (eqs. 1 to 5).

    At initialisation the output is RMSNorm(h) whatever the condition.

    Args:
      gated: eq. 4, else eq. 5.
    """

    gated: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "b s s c"],
        temb: Float[Array, "b k"],
        condition: Condition,
    ) -> Float[Array, "b s s c"]:
        dim = h.shape[-1]
        n = rms_norm(h.astype(self.dtype))
        by_map = _affine(dim, self.dtype, "attributes")(condition.attributes)
        gamma, beta = jnp.split(resize_map(by_map, h.shape[1]), 2, axis=-1)
        attributes = (1.0 + gamma) * n + beta
        by_vector = _affine(dim, self.dtype, "identity")(condition.identity)
        gamma, beta = jnp.split(by_vector[:, None, None], 2, axis=-1)
        identity = (1.0 + gamma) * n + beta
        if not self.gated:
            return attributes + identity - n
        logits = nn.Dense(dim, dtype=self.dtype, name="gate")(n)
        shift = nn.Dense(dim, use_bias=False, dtype=self.dtype, name="gate_time")(temb)
        gate = jax.nn.sigmoid(logits + shift[:, None, None])
        self.sow("intermediates", "gate_map", gate)
        return attributes + gate * (identity - attributes)
