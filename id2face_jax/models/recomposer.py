"""The identity-decoupled latent recomposer (IDLR): "who" and "everything else".

The paper states that non-identity attributes come from same-identity pairs and are
recombined with an identity modelled by the IVAE (abstract). Shapes, the bottleneck
and its noise are ours: an attribute latent a of a few channels on a coarse grid,
with its own variational penalty, so that what the identity already supplies is
expensive to repeat.

    (1)  q(a | z) = N(mu(z), diag exp(logvar(z))) on a grid coarser than the latent's
    (2)  condition = (c_u(f_hat), vector or map; map c_a(a); template P(f_hat))
    (3)  P(f) = W f + b                            trained as E[z | f], by squared error

The identity template (ours) is the latent of the average picture of a face with that
embedding. Crops are aligned, so this linear map alone is a blurred face that a
recognizer takes for the one asked for: the UNet has the identity from the first step
on, where the vector alone takes thousands (docs/design.md).

A noisy bottleneck alone keeps what helps to denoise, and a face helps. So an adversary
reads the identity out of a while both train (Ganin et al. 2016): what it can read, the
encoder learns to leave out, and the UNet has to take it from the identity it is given.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.identity_vae import unit
from id2face_jax.models.layers import MixBlock, Mlp, rms_norm, space_to_depth


@struct.dataclass
class Condition:
    """What the UNet is told.

    Attributes:
      identity: who, as a vector.
      attributes: everything else, as a coarse map.
      template: the latent of the average picture of that identity; None: not used.
      identity_map: who, place by place; None: the vector stands for every place.
    """

    identity: Float[Array, "b k"]
    attributes: Float[Array, "b g g k"]
    template: Float[Array, "b h h c"] | None = None
    identity_map: Float[Array, "b m m k"] | None = None


class AttributeEncoder(nn.Module):
    """Latent z (b, h, h, c) to (mu, logvar), each (b, h/stride, h/stride, channels).

    Eq. 1. stride: cells of the latent to a cell of the grid, on each axis.
    """

    channels: int
    dim: int
    depth: int
    stride: int = 2
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b h h c"]
    ) -> tuple[Float[Array, "b g g a"], Float[Array, "b g g a"]]:
        h = space_to_depth(z.astype(self.dtype), self.stride)
        h = nn.Dense(self.dim, dtype=self.dtype, name="stem")(h)
        for i in range(self.depth):
            h = MixBlock(2.0, dtype=self.dtype, name=f"block_{i}")(h)
        out = nn.Dense(2 * self.channels, name="to_latent")(rms_norm(h))
        mu, logvar = jnp.split(out.astype(jnp.float32), 2, axis=-1)
        return mu, jnp.clip(logvar, -8.0, 4.0)


class LeakProbe(nn.Module):
    """Guesses the identity embedding from the attribute latent's mean: the adversary.

    Args:
      embedding_dim: length of the recognizer's embedding.
      dim: width.
    """

    embedding_dim: int
    dim: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, mu: Float[Array, "b g g a"]) -> Float[Array, "b d"]:
        """Unit embeddings."""
        h = nn.Dense(self.dim, dtype=self.dtype, name="in")(mu.reshape(len(mu), -1))
        h = h + Mlp(2.0, dtype=self.dtype, name="mlp")(rms_norm(h))
        return unit(nn.Dense(self.embedding_dim, name="out")(h))


class Verifier(nn.Module):
    """Tells whether two attribute latents are of one person: the second adversary.

    It learns from which photos belong together, not from a recognizer's embedding, so
    it also finds similarity that the recognizer does not see.

    Args:
      embedding_dim: length of its vectors.
      dim: width.
    """

    embedding_dim: int
    dim: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, mu: Float[Array, "b g g a"]) -> Float[Array, "b d"]:
        """Unit vectors, near each other for photos of one person."""
        h = nn.Dense(self.dim, dtype=self.dtype, name="in")(mu.reshape(len(mu), -1))
        h = nn.relu(rms_norm(h))
        return unit(nn.Dense(self.embedding_dim, name="out")(h))


class Recomposer(nn.Module):
    """Identity embedding and attribute latent to the UNet's condition (eq. 2).

    Args:
      dim: length of the identity vector and channels of the attribute map.
      template_shape: (h, h, c) of the latent; None: no template.
      identity_grid: cells of the identity map on each axis; 0: no map.
    """

    dim: int
    identity_grid: int = 0
    template_shape: tuple[int, int, int] | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        f: Float[Array, "b d"],
        a: Float[Array, "b g g a"],
        keep_identity: Float[Array, " b"],
    ) -> Condition:
        """Returns the condition; rows with keep_identity 0 get the null identity.

        f: unit identity embeddings. a: attribute latents. keep_identity: 1 or 0.
        """
        null = self.param("null_identity", nn.initializers.normal(0.02), (self.dim,))
        scaled = f * jnp.sqrt(float(f.shape[-1]))
        h = nn.Dense(self.dim, dtype=self.dtype, name="identity_in")(scaled)
        h = nn.Dense(self.dim, dtype=self.dtype, name="identity_out")(
            jnp.square(nn.relu(h))
        )
        keep = keep_identity[:, None].astype(h.dtype)
        identity = keep * rms_norm(h) + (1.0 - keep) * null.astype(h.dtype)
        template = None
        if self.template_shape is not None:
            draw = nn.Dense(
                math.prod(self.template_shape),
                kernel_init=nn.initializers.zeros,
                name="portrait",  # as stored weights call it
            )
            # Without an identity this is b, the average face.
            # It must not pull the identity space towards what is easy to draw.
            alone = keep * jax.lax.stop_gradient(scaled)
            template = draw(alone).reshape(-1, *self.template_shape)
        where = None
        if self.identity_grid:
            grid = (self.identity_grid, self.identity_grid, self.dim)
            spread = nn.Dense(math.prod(grid), dtype=self.dtype, name="identity_map")
            where = rms_norm(spread(identity).reshape(-1, *grid))
        h = nn.Dense(self.dim, dtype=self.dtype, name="attributes_in")(a)
        attributes = MixBlock(2.0, dtype=self.dtype, name="attributes_mix")(h)
        return Condition(identity, rms_norm(attributes), template, where)
