"""The identity-guided latent harmonizer (IGLH): one gated fusion inside the UNet.

The paper states that identity and attributes are fused by soft gating conditioned on
the noisy feature prediction (abstract); the formulas are ours. With n = RMSNorm(h), an
attribute map a and an identity u, which is a vector or a map:

    (1)  dA  = gamma_a(a) * n + beta_a(a)        what the attributes change
    (2)  dI  = gamma_u(u) * n + beta_u(u)        what the identity changes
    (3)  M   = sigmoid(Dense([n, temb]))         one value a position and channel
    (4)  out = n + dA + M * dI                   "identity_gated"
    (5)  out = n + (1 - M) * dA + M * dI         "gated"
    (6)  out = n + dA + dI                       "sum", the ablation: no gate

Under (4) attributes are heard everywhere and the gate has one thing to decide: where,
and when, who it is matters. It sees the current noisy feature and the time. Gates are
sown as intermediates ("gate_map") for plots.
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


FUSIONS = ("identity_gated", "gated", "sum")


class Harmonizer(nn.Module):
    """Normalizes h and modulates it by attributes and identity (eqs. 1 to 6).

    At initialization the output is RMSNorm(h) whatever the condition.

    Args:
      fusion: one of FUSIONS.
    """

    fusion: str = "gated"
    dtype: DTypeLike = jnp.float32

    def _change(self, n, by: Float[Array, "b g g k"], name: str):
        """Eq. 1 or 2: gamma * n + beta, on the grid of n."""
        size, dim = n.shape[1], n.shape[-1]
        if by.shape[1] > size:  # the mean first: fewer positions for the same result
            by = resize_map(by, size)
        both = _affine(dim, self.dtype, name)(by)
        if both.shape[1] > 1:
            both = resize_map(both, size)
        gamma, beta = jnp.split(both, 2, axis=-1)
        return gamma * n + beta

    @nn.compact
    def __call__(
        self,
        h: Float[Array, "b s s c"],
        temb: Float[Array, "b k"],
        condition: Condition,
    ) -> Float[Array, "b s s c"]:
        n = rms_norm(h.astype(self.dtype))
        who = condition.identity_map
        who = condition.identity[:, None, None] if who is None else who
        attributes = self._change(n, condition.attributes, "attributes")
        identity = self._change(n, who, "identity")
        if self.fusion == "sum":
            return n + attributes + identity
        dim = h.shape[-1]
        logits = nn.Dense(dim, dtype=self.dtype, name="gate")(n)
        shift = nn.Dense(dim, use_bias=False, dtype=self.dtype, name="gate_time")(temb)
        gate = jax.nn.sigmoid(logits + shift[:, None, None])
        self.sow("intermediates", "gate_map", gate)
        if self.fusion == "gated":
            attributes = (1.0 - gate) * attributes
        return n + attributes + gate * identity
