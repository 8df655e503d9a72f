"""The critic: is this latent a photo's, or what the UNet made of one?

Squared error alone paints the mean of all faces that fit, which is soft. A critic that
trains beside the UNet sees the softness and pushes against it (Goodfellow et al. 2014;
on image parts: Isola et al. 2017; on the estimate of a few-step sampler: Sauer et al.
2023). It reads latents, so it costs a fraction of a critic of pixels. The paper has
none: it is ours, and only training uses it.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.layers import MixBlock, rms_norm, space_to_depth


class LatentCritic(nn.Module):
    """A logit a patch, high for latents of photos.

    Args:
      dim: width at the latent's resolution; twice that at half of it.
      depth: blocks at half the resolution; two let each patch see most of a 16x16
        latent.
    """

    dim: int
    depth: int = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b h h c"], mask: Float[Array, "b h h 1"]
    ) -> Float[Array, "b g g"]:
        """Logits (b, h/2, h/2).

        z: latents whose channels have unit variance over the data, lest the coarse
        ones, which are large and never soft, be all that it sees. mask: where the UNet
        painted, for photos where it would.
        """
        h = jnp.concatenate([z, mask], axis=-1).astype(self.dtype)
        h = nn.Dense(self.dim, dtype=self.dtype, name="stem")(h)
        h = MixBlock(2.0, dtype=self.dtype, name="fine")(h)
        h = nn.Dense(2 * self.dim, dtype=self.dtype, name="shrink")(
            space_to_depth(h, 2)
        )
        for i in range(self.depth):
            h = MixBlock(2.0, dtype=self.dtype, name=f"coarse_{i}")(h)
        return nn.Dense(1, name="out")(rms_norm(h).astype(jnp.float32))[..., 0]
