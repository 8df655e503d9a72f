"""ID2Face assembled: identity VAE, attribute encoder, recomposer, UNet.

Everything that trains in the diffusion stage stands here, under the names
`identity_vae`, `attribute_encoder`, `leak_probe`, `recomposer`, `unet` and, where
training has one, `critic`. The autoencoder is trained before and stays outside, frozen;
the module works on its latents. A part that an ablation switches off has a stand-in of
the same calls.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from id2face_jax.models.critic import Critic
from id2face_jax.models.identity_vae import GaussianIdentity, IdentityVAE
from id2face_jax.models.recomposer import (
    AttributeEncoder,
    Condition,
    LeakProbe,
    Recomposer,
    Verifier,
)

# "vae": learned; "gaussian": random directions, the ablation.
IDENTITY_SPACES = ("vae", "gaussian")


class ID2Face(nn.Module):
    """The trainable networks. Arguments mirror config.model; see configs/base.py.

    unet: any module with the call of `denoise`; it becomes the submodule `unet`.
    identity_space: one of IDENTITY_SPACES.
    template_shape: of the latent, for the recomposer's template; None: no template.
    critic_dim: width of the critic (config.loss.critic_dim); 0: none.
    second_dim: length of the embedding of a second recognizer, which a second probe
      guesses (config.loss.second_dim); 0: none.
    verifier_dim: width of the verifier (config.loss.verifier_dim); 0: none.
    identity_grid: cells of the identity map on each axis; 0: a vector alone.
    """

    embedding_dim: int
    identity_dim: int
    identity_hidden_dim: int
    attribute_channels: int
    attribute_dim: int
    attribute_depth: int
    leak_probe_dim: int
    condition_dim: int
    attribute_stride: int
    unet: nn.Module
    identity_space: str = "vae"
    template_shape: tuple[int, int, int] | None = None
    critic_dim: int = 0
    second_dim: int = 0
    verifier_dim: int = 0
    identity_grid: int = 0
    dtype: DTypeLike = jnp.float32

    def setup(self):
        if self.identity_space not in IDENTITY_SPACES:
            raise ValueError(
                f"model.identity_space is {self.identity_space!r}; use one of "
                f"{IDENTITY_SPACES}"
            )
        if self.identity_space == "gaussian":
            self.identity_vae = GaussianIdentity(self.embedding_dim, self.identity_dim)
        else:
            self.identity_vae = IdentityVAE(
                self.embedding_dim,
                self.identity_dim,
                self.identity_hidden_dim,
                dtype=self.dtype,
            )
        self.attribute_encoder = AttributeEncoder(
            self.attribute_channels,
            self.attribute_dim,
            self.attribute_depth,
            stride=self.attribute_stride,
            dtype=self.dtype,
        )
        self.leak_probe = LeakProbe(
            self.embedding_dim, self.leak_probe_dim, dtype=self.dtype
        )
        self.recomposer = Recomposer(
            self.condition_dim,
            self.identity_grid,
            self.template_shape,
            dtype=self.dtype,
        )
        if self.second_dim:
            self.second_probe = LeakProbe(
                self.second_dim, self.leak_probe_dim, dtype=self.dtype
            )
        if self.verifier_dim:
            self.verifier = Verifier(
                self.embedding_dim, self.verifier_dim, dtype=self.dtype
            )
        if self.critic_dim:
            self.critic = Critic(self.critic_dim, dtype=self.dtype)

    def encode_identity(self, f: Float[Array, "b d"]):
        """(mu, logvar) of the identity latent, each (b, identity_dim)."""
        return self.identity_vae.encode(f)

    def decode_identity(self, u: Float[Array, "b u"]) -> Float[Array, "b d"]:
        """Unit identity embeddings of identity latents."""
        return self.identity_vae.decode(u)

    def encode_attributes(self, z: Float[Array, "b h h c"]):
        """(mu, logvar) of the attribute latent, on the coarse grid."""
        return self.attribute_encoder(z)

    def probe_identity(self, mu: Float[Array, "b g g a"]) -> Float[Array, "b d"]:
        """What an adversary reads of the identity from attributes: unit embeddings."""
        return self.leak_probe(mu)

    def probe_second(self, mu: Float[Array, "b g g a"]) -> Float[Array, "b e"]:
        """The same of a second recognizer's unit embeddings."""
        return self.second_probe(mu)

    def verify_attributes(self, mu: Float[Array, "b g g a"]) -> Float[Array, "b d"]:
        """Unit vectors of the verifier, near each other for photos of one person."""
        return self.verifier(mu)

    def criticize_latents(
        self, z: Float[Array, "b h h c"], mask: Float[Array, "b h h 1"]
    ) -> Float[Array, "b k k"]:
        """The critic's logits, a patch each; z is of about unit variance."""
        return self.critic(jnp.concatenate([z, mask], axis=-1))

    def recompose(
        self,
        f: Float[Array, "b d"],
        a: Float[Array, "b g g a"],
        keep_identity: Float[Array, " b"],
    ) -> Condition:
        """The UNet's condition from an identity embedding and attribute latents."""
        return self.recomposer(f, a, keep_identity)

    def denoise(
        self,
        zt: Float[Array, "b h h c"],
        zm: Float[Array, "b h h c"],
        mask: Float[Array, "b h h 1"],
        t: Float[Array, " b"],
        condition: Condition,
    ) -> Float[Array, "b h h c"]:
        """The UNet's output (config.model.prediction says what it stands for)."""
        return self.unet(zt, zm, mask, t, condition)

    def __call__(self, z, zm, mask, t, f):
        """One pass through every part, for initialisation."""
        mu, _ = self.encode_identity(f)
        a, _ = self.encode_attributes(z)
        self.probe_identity(a)
        if self.second_dim:
            self.probe_second(a)
        if self.verifier_dim:
            self.verify_attributes(a)
        if self.critic_dim:
            self.criticize_latents(z, mask)
        condition = self.recompose(self.decode_identity(mu), a, jnp.ones(f.shape[0]))
        return self.denoise(z, zm, mask, t, condition)
