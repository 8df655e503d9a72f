"""What the finishing stage minimizes: a decoder that knows what a sampler gives.

Trained on latents of photos, a decoder is never shown what a denoiser makes of noise:
means of all faces that fit, which are soft, with small mistakes. Here UNet and identity
are frozen, and the decoder learns to make a face of the UNet's own estimates (ours; a
critic on one-step estimates: Sauer et al. 2023). With z the photo's latent, x0 the
estimate, all means inside the mask:

    (1)  pixels       (1 - t) |D(x0) - x|           own identity, t uniform
    (2)  anchor       t |S(D(x0)) - S(D'(x0))|      D' the first D, S a small blur
    (3)  critic       softplus(C(y) - C(x)), y the picture with D(x0) inside the mask
    (4)  adversarial  softplus(C(x) - C(y)) for D
    (5)  smooth       (C(x + noise) - C(x))^2 for C

(3) and (4) compare a picture with its own photo (Jolicoeur-Martineau 2019, paired), and
(5) is what keeps the critic from winning at once: R1 without second derivatives (Lin et
al. 2025, "APT", eq. 5; both together: Huang et al. 2024, "R3GAN"). The critic sees the
pictures moved by some pixels, another way each step: else its cells' borders taught the
decoder a halftone.

At t = 1 nothing in x0 tells which of all faces that fit the photo was, so (1) fades;
(2) keeps who and how D finds in x0, and leaves it the detail. (An anchor to the latent,
E(D(x0)) = x0, taught D to show x0's mistakes; one to half cells' means left it free to
put dots in them.) Of each pair the first photo keeps its identity, at t uniform. The
second is asked for a sampled one, and drawn by the very sampler that the anonymizer
uses, t = 1 in (1) and (2).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import ml_collections
from flax import linen as nn
from jaxtyping import Array, Float, Int

from id2face_jax import identity
from id2face_jax.diffusion import ddim, process
from id2face_jax.generation.generate import encode_latents
from id2face_jax.models import build
from id2face_jax.models.critic import Critic
from id2face_jax.models.id2face import ID2Face
from id2face_jax.models.layers import resize_map, space_to_depth
from id2face_jax.training import losses
from id2face_jax.training.recomposition import Sides

_still = jax.lax.stop_gradient
_LEAST_T = 0.05
_SMOOTH_NOISE = 0.05  # of (5), where pixels run from -1 to 1


@dataclasses.dataclass(frozen=True)
class Finishing:
    """The objective of task "finishing"; fields as of `recomposition.Recomposition`.

    weights: config.autoencoder. angle: between asked and source identity, degrees.
    steps, temperature: of the sampler.
    """

    model: ID2Face
    autoencoder: object
    critic: Critic
    prediction: process.Prediction
    alpha_sigma: Callable
    weights: ml_collections.FrozenConfigDict
    masked: bool
    angle: float
    steps: int
    temperature: float

    def draw(self, key: jax.Array, batch: dict) -> dict:
        """Times, start noise and sampled identities, (b, 2, ...), a photo each."""
        num, size = batch["image_a"].shape[:2]
        side = size // self.autoencoder.factor
        keys = jax.random.split(key, 5)
        latent = (num, 2, side, side, self.autoencoder.latent_channels)
        t = jax.random.uniform(keys[0], (num, 2), minval=_LEAST_T)
        return {
            "t": t.at[:, 1].set(1.0),
            "noise": jax.random.normal(keys[1], latent),
            "sampled": jax.random.normal(keys[2], (num, 2, self.model.identity_dim)),
            "pixel_noise": jax.random.normal(keys[3], (num, 2, size, size, 3)),
            "moved": jax.random.uniform(keys[4], (num, 2, 2)),
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
        first = self._decode(frozen["autoencoder"], x0)
        anchor = _inside(jnp.abs(_blurred(rebuilt - first)), masks) * t
        painted = masks * rebuilt + (1.0 - masks) * x

        terms = {"l1": jnp.mean(pixels), "anchor": jnp.mean(anchor)}
        terms |= self._critic_terms(params["critic"], side, painted, mask)
        loss = (
            weights.l1_weight * terms["l1"]
            + weights.anchor * terms["anchor"]
            + weights.critic * (terms["critic"] + weights.smooth * terms["smooth"])
            + weights.adversarial * terms["adversarial"]
        )
        return loss, {"loss": loss} | terms

    def _critic_terms(self, critic, side: Sides, painted, mask) -> dict:
        """Terms 3 to 5."""
        moved = side.draws["moved"] * (self.autoencoder.factor // 2)
        shifts = moved.astype(jnp.int32)

        def read(pictures, params):
            pictures = jax.vmap(_rolled)(pictures, shifts)
            return self.critic.apply(
                {"params": params}, self.critic_input(pictures, mask)
            )

        def mean(logits):
            return jnp.mean(losses.patch_mean(logits, mask))

        photo, still = side.pixels, _still(critic)
        real, fake = read(photo, critic), read(_still(painted), critic)
        noisy = read(photo + _SMOOTH_NOISE * side.draws["pixel_noise"], critic)
        against = read(painted, still)
        return {
            "critic": mean(jax.nn.softplus(fake - real)),
            "smooth": mean(jnp.square(noisy - real)),
            "adversarial": mean(jax.nn.softplus(_still(real) - against)),
        }

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
        t, noise = side.draws["t"], side.draws["noise"]
        half = len(t) // 2
        f = jnp.concatenate([own[:half], asked[half:]])
        attributes, _ = apply(z, method="encode_attributes")
        condition = apply(f, attributes, jnp.ones(len(t)), method="recompose")

        def denoiser(rows: slice):
            inputs = jax.tree.map(lambda x: x[rows], (zm, mask, condition))

            def denoise(zt, t):
                alpha, sigma = self.alpha_sigma(t)
                seen = self.prediction.network_input(zt, alpha, sigma)
                out = apply(seen, *inputs[:2], t, inputs[2], method="denoise")
                return self.prediction.to_x0(out, zt, alpha, sigma)

            return denoise

        first, second = slice(half), slice(half, None)
        zt = process.mix(z[first], noise[first], *self.alpha_sigma(t[first]))
        rebuilt = denoiser(first)(zt, t[first])
        start = self.temperature * noise[second]
        drawn = ddim.sample(denoiser(second), start, self.steps, self.alpha_sigma)
        return _still(jnp.concatenate([rebuilt, drawn])), mask

    def critic_input(
        self, pictures: Float[Array, "n s s 3"], mask: Float[Array, "n h h 1"]
    ) -> Float[Array, "n g g k"]:
        """Half cells of pixels, and how much of each is generated."""
        half_cells = space_to_depth(pictures, self.autoencoder.factor // 2)
        where = resize_map(mask, half_cells.shape[1])
        return jnp.concatenate([half_cells, where], axis=-1)


def _blurred(pictures: Float[Array, "n s s 3"]) -> Float[Array, "n s s 3"]:
    """The mean over 3x3 pixels, twice."""
    for _ in range(2):
        pictures = nn.avg_pool(pictures, (3, 3), padding="SAME")
    return pictures


def _rolled(picture: Float[Array, "s s 3"], shift: Int[Array, "2"]) -> Array:
    return jnp.roll(picture, tuple(shift), axis=(0, 1))


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
        steps=config.model.sample_steps,
        temperature=config.model.sample_temperature,
    )
