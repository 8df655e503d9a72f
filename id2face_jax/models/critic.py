"""The critic: is this a photo, or what a network made of one?

Squared error alone paints the mean of all faces that fit, which is soft. A critic that
trains beside the generator sees the softness and pushes against it (Goodfellow et al.
2014; on image parts: Isola et al. 2017; on the estimate of a few-step sampler: Sauer et
al. 2023). Of the UNet it reads latents, at a fraction of the cost of pixels; of the
decoder, pixels. The paper has none: it is ours, and only training uses it.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.layers import MixBlock, rms_norm, space_to_depth


class Critic(nn.Module):
    """A logit a patch, high for maps of photos.

    Args:
      dim: width at the map's resolution; twice that at half of it.
      depth: blocks at half the resolution; two let each patch see most of a 16x16 map.
      bias: of the logit; a loss of differences of logits has no use for one.
    """

    dim: int
    depth: int = 2
    bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h h c"]) -> Float[Array, "b g g"]:
        """Logits (b, h/2, h/2).

        x: channels of about unit variance over photos, so that the coarse ones of a
        latent, which are large and never soft, are not all that it sees; and whatever
        else it may know, such as the mask.
        """
        h = nn.Dense(self.dim, dtype=self.dtype, name="stem")(x.astype(self.dtype))
        h = MixBlock(2.0, dtype=self.dtype, name="fine")(h)
        h = nn.Dense(2 * self.dim, dtype=self.dtype, name="shrink")(
            space_to_depth(h, 2)
        )
        for i in range(self.depth):
            h = MixBlock(2.0, dtype=self.dtype, name=f"coarse_{i}")(h)
        out = nn.Dense(1, use_bias=self.bias, name="out")
        return out(rms_norm(h).astype(jnp.float32))[..., 0]
