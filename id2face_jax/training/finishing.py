"""What the finishing stage minimizes: a decoder that knows what a sampler gives.

Trained on latents of photos, a decoder is never shown what a denoiser makes of noise:
means of all faces that fit, which are soft, with small mistakes. Here UNet and identity
are frozen, and the decoder learns to make a face of the UNet's own estimates (ours; a
critic on one-step estimates: Sauer et al. 2023). With z the photo's latent, x0 the
estimate, all means inside the mask:

    (1)  pixels       (1 - t) |D(x0) - x|           own identity, t uniform
    (2)  latent       t |E(D(x0)) - x0| / s         s: the channels' deviations
    (3)  critic       see `losses`, of the picture with D(x0) inside the mask
    (4)  adversarial

At t = 1 nothing in x0 tells which of all faces that fit the photo was, so (1) fades;
(2) keeps who and how D found in x0. Of each pair the first photo keeps its identity,
and the second is asked for a sampled one from pure noise, as the anonymizer does.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from jaxtyping import Array, Float

from id2face_jax import identity
from id2face_jax.diffusion import process
from id2face_jax.generation.generate import encode_latents
from id2face_jax.models import build
from id2face_jax.models.critic import Critic
from id2face_jax.models.id2face import ID2Face
from id2face_jax.models.layers import resize_map, space_to_depth
from id2face_jax.training import losses
from id2face_jax.training.recomposition import Sides

_still = jax.lax.stop_gradient
_LEAST_T = 0.05


@dataclasses.dataclass(frozen=True)
class Finishing:
    """The objective of task "finishing"; fields as of `recomposition.Recomposition`.

    weights: config.autoencoder. angle: between asked and source identity, degrees.
    """

    model: ID2Face
    autoencoder: object
    critic: Critic
    prediction: process.Prediction
    alpha_sigma: Callable
    weights: ml_collections.FrozenConfigDict
    masked: bool
    angle: float

    def draw(self, key: jax.Array, batch: dict) -> dict:
        """Times, start noise and sampled identities, (b, 2, ...), a photo each."""
        num, size = batch["image_a"].shape[:2]
        side = size // self.autoencoder.factor
        keys = jax.random.split(key, 3)
        latent = (num, 2, side, side, self.autoencoder.latent_channels)
        t = jax.random.uniform(keys[0], (num, 2), minval=_LEAST_T)
        return {
            "t": t.at[:, 1].set(1.0),
            "noise": jax.random.normal(keys[1], latent),
            "sampled": jax.random.normal(keys[2], (num, 2, self.model.identity_dim)),
        }

    def loss(self, params, frozen, batch, draws):
        """The weighted sum of the terms above, with each term as a metric."""
        side = Sides(batch, draws)
        x, masks = side.pixels, side.masks[..., None]
        x0, mask = self.estimates(frozen["model"], side)
        rebuilt = self._decode(params, x0)
        t, weights = side.draws["t"], self.weights
        off = jnp.abs(rebuilt - x)
        pixels = _inside(off, masks) * (1.0 - t)
        scale = jnp.asarray(self.autoencoder.sigma_data)
        found = self.autoencoder.apply({"params": params}, rebuilt, method="encode")
        latent = _inside(jnp.abs(found - x0) / scale, mask) * t
        painted = masks * rebuilt + (1.0 - masks) * x

        def read(pictures, still: bool):
            own = _still(params["critic"]) if still else params["critic"]
            return self.critic.apply({"params": own}, self.critic_input(pictures, mask))

        def mean(logits):
            return jnp.mean(losses.patch_mean(logits, mask))

        critic, adversarial = losses.adversarial_terms(read, x, painted, mean)
        terms = {
            "l1": jnp.mean(pixels),
            "latent": jnp.mean(latent),
            "critic": critic,
            "adversarial": adversarial,
        }
        loss = (
            weights.l1_weight * terms["l1"]
            + weights.latent_weight * terms["latent"]
            + weights.critic * critic
            + weights.adversarial * adversarial
        )
        return loss, {"loss": loss} | terms

    def _decode(self, params, z):
        own = {"decoder": params["decoder"]}
        return self.autoencoder.apply({"params": own}, z, method="decode")

    def estimates(
        self, model: dict, side: Sides
    ) -> tuple[Float[Array, "n h h c"], Float[Array, "n h h 1"]]:
        """The UNet's estimates of x0 and the mask on their grid; no gradient."""

        def apply(*args, method: str):
            return self.model.apply({"params": model}, *args, method=method)

        z, zm, mask = encode_latents(
            self.autoencoder, {}, side.pixels, side.masks, self.masked
        )
        mu, _ = apply(side.embeddings, method="encode_identity")
        own = apply(mu, method="decode_identity")
        sampled = apply(side.draws["sampled"], method="decode_identity")
        asked = identity.orthogonal_map(sampled, side.embeddings, self.angle)
        t = side.draws["t"]
        is_sampled = jnp.arange(len(t)) >= len(t) // 2
        f = jnp.where(is_sampled[:, None], asked, own)
        attributes, _ = apply(z, method="encode_attributes")
        condition = apply(f, attributes, jnp.ones(len(t)), method="recompose")
        alpha, sigma = self.alpha_sigma(t)
        zt = process.mix(z, side.draws["noise"], alpha, sigma)
        seen = self.prediction.network_input(zt, alpha, sigma)
        out = apply(seen, zm, mask, t, condition, method="denoise")
        return _still(self.prediction.to_x0(out, zt, alpha, sigma)), mask

    def critic_input(
        self, pictures: Float[Array, "n s s 3"], mask: Float[Array, "n h h 1"]
    ) -> Float[Array, "n g g k"]:
        """Half cells of pixels, and how much of each is generated."""
        half_cells = space_to_depth(pictures, self.autoencoder.factor // 2)
        where = resize_map(mask, half_cells.shape[1])
        return jnp.concatenate([half_cells, where], axis=-1)


def _inside(
    value: Float[Array, "n h h c"], mask: Float[Array, "n h h 1"]
) -> Float[Array, " n"]:
    """Mean over the mask and the channels, a row."""
    total = jnp.maximum(jnp.sum(mask, axis=(1, 2, 3)), 1e-6)
    mean = jnp.mean(value, axis=-1, keepdims=True)
    return jnp.sum(mask * mean, axis=(1, 2, 3)) / total


def make_finishing(config: ml_collections.ConfigDict) -> Finishing:
    """The objective of config.autoencoder on the networks of config.model."""
    return Finishing(
        model=build.make_model(config),
        autoencoder=build.make_autoencoder(config),
        critic=build.make_pixel_critic(config),
        prediction=build.make_prediction(config),
        alpha_sigma=build.noise_schedule(config),
        weights=ml_collections.FrozenConfigDict(config.autoencoder),
        masked=config.model.masked,
        angle=config.loss.deployed_angle,
    )
