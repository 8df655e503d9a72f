"""What the autoencoder stage minimizes: draws, forward passes, weighted terms.

An objective has `draw(key, batch)`, the step's randomness for a whole batch, and
`loss(params, frozen, batch, draws) -> (scalar, metrics)`. The terms are in `losses`,
the networks in `models`; the weights are config.loss and config.autoencoder.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import ml_collections

from id2face_jax.generation.generate import to_float
from id2face_jax.models.build import (
    make_autoencoder,
    make_pixel_critic,
)
from id2face_jax.models.layers import space_to_depth
from id2face_jax.training import losses


def _latent_side(config: ml_collections.ConfigDict, batch: dict) -> int:
    return batch["image_a"].shape[1] // make_autoencoder(config).factor


@dataclasses.dataclass(frozen=True)
class AutoencoderObjective:
    """Reconstruction of both photos of each pair, with noise on the latent (ours)."""

    config: ml_collections.ConfigDict

    def draw(self, key: jax.Array, batch: dict) -> dict:
        """Latent noise (b, 2, h, h, c), its amount for each photo already in it."""
        num, side = batch["image_a"].shape[0], _latent_side(self.config, batch)
        shape = (num, 2, side, side, self.config.autoencoder.latent_channels)
        amount = jax.random.uniform(jax.random.fold_in(key, 1), (num, 2, 1, 1, 1))
        return {"noise": amount * jax.random.normal(key, shape)}

    def loss(self, params, frozen, batch, draws):
        """L1, L2 and the critic's terms, by the weights of config.autoencoder."""
        del frozen
        ae = self.config.autoencoder
        model = make_autoencoder(self.config)
        x = jnp.concatenate([to_float(batch["image_a"]), to_float(batch["image_b"])])
        noise = jnp.concatenate([draws["noise"][:, 0], draws["noise"][:, 1]])
        z = model.apply({"params": params}, x, method="encode")
        z = z + ae.latent_noise * noise
        rebuilt = model.apply({"params": params}, z, method="decode")
        l1 = jnp.mean(jnp.abs(rebuilt - x))
        l2 = jnp.mean(jnp.square(rebuilt - x))
        loss = ae.l1_weight * l1 + ae.l2_weight * l2
        # Peak-to-peak is 2 in [-1, 1].
        terms = {"l1": l1, "l2": l2, "psnr": 10.0 * jnp.log10(4.0 / l2)}
        if ae.critic_dim:
            read = functools.partial(self._read, params)
            critic, adversarial = losses.adversarial_terms(read, x, rebuilt)
            begun = (draws["step"][0, 0] >= ae.adversarial_from).astype(jnp.float32)
            loss += begun * (ae.critic * critic + ae.adversarial * adversarial)
            terms |= {"critic": critic, "adversarial": adversarial}
        return loss, {"loss": loss} | terms

    def _read(self, params, x, still: bool):
        """The critic's logits of pixels, laid out as half cells; () -> frozen."""
        critic = params["critic"]
        critic = jax.lax.stop_gradient(critic) if still else critic
        half_cells = space_to_depth(x, self.config.autoencoder.factor // 2)
        return make_pixel_critic(self.config).apply({"params": critic}, half_cells)
