"""The identity VAE (IVAE): recognizer embedding <-> identity latent u.

The paper states that an identity VAE models identity features and that a random
identity is sampled from the learned space (abstract); layers and sizes are ours.

    (1)  q(u | f) = N(mu(f), diag exp(logvar(f)))
    (2)  f_hat    = Dec(u) / |Dec(u)|

`GaussianIdentity` is what the IVAE has to beat: no learned space, random directions.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.layers import Mlp, rms_norm


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """x on the unit sphere, float32; a zero vector stays zero."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(x * x, axis=-1, keepdims=True) + 1e-12)


class IdentityVAE(nn.Module):
    """Encoder and decoder MLPs around the identity latent.

    Args (from config.model):
      embedding_dim: length of the recognizer's embedding f.
      latent_dim: length of u.
      hidden_dim: width of the residual layers.
    """

    embedding_dim: int
    latent_dim: int
    hidden_dim: int
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.enc_in = nn.Dense(self.hidden_dim, dtype=self.dtype)
        self.enc_mlp = Mlp(2.0, dtype=self.dtype)
        self.enc_mu = nn.Dense(self.latent_dim)
        self.enc_logvar = nn.Dense(
            self.latent_dim, kernel_init=nn.initializers.normal(1e-2)
        )
        self.dec_in = nn.Dense(self.hidden_dim, dtype=self.dtype)
        self.dec_mlp = Mlp(2.0, dtype=self.dtype)
        self.dec_out = nn.Dense(self.embedding_dim)

    def encode(
        self, f: Float[Array, "b d"]
    ) -> tuple[Float[Array, "b u"], Float[Array, "b u"]]:
        """(mu, logvar) of q(u | f), eq. 1; logvar is kept in [-8, 4]."""
        # Unit vectors have entries of 1/sqrt(d); layers expect entries of one.
        h = self.enc_in(f * jnp.sqrt(float(self.embedding_dim)))
        h = h + self.enc_mlp(rms_norm(h))
        return self.enc_mu(h), jnp.clip(self.enc_logvar(h), -8.0, 4.0)

    def decode(self, u: Float[Array, "b u"]) -> Float[Array, "b d"]:
        """f_hat on the unit sphere (eq. 2)."""
        h = self.dec_in(u)
        h = h + self.dec_mlp(rms_norm(h))
        return unit(self.dec_out(h))

    def __call__(self, f: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """The embedding decoded from the posterior's mean."""
        return self.decode(self.encode(f)[0])


class GaussianIdentity(nn.Module):
    """The ablation of the IVAE: u is the embedding itself, times sqrt(d).

    A random identity is then a random direction, which the recomposer's MLP has to
    make sense of: it looks like no person that training showed. Has no parameters.

    Args:
      embedding_dim, latent_dim: equal, or ValueError.
    """

    embedding_dim: int
    latent_dim: int

    def __post_init__(self):
        super().__post_init__()
        if self.embedding_dim != self.latent_dim:
            raise ValueError(
                f"model.identity_dim is {self.latent_dim} and model.embedding_dim is "
                f"{self.embedding_dim}; with model.identity_space='gaussian' they must "
                "be equal"
            )

    def encode(
        self, f: Float[Array, "b d"]
    ) -> tuple[Float[Array, "b u"], Float[Array, "b u"]]:
        """(mu, logvar): f in the scale of a Gaussian sample, and hardly any noise."""
        mu = f.astype(jnp.float32) * jnp.sqrt(float(self.embedding_dim))
        return mu, jnp.full_like(mu, -8.0)

    def decode(self, u: Float[Array, "b u"]) -> Float[Array, "b d"]:
        """u's direction."""
        return unit(u)
