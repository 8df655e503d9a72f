"""What the autoencoder stage minimizes: draws, forward passes, weighted terms.

An objective has `draw(key, batch)`, the step's randomness for a whole batch, and
`loss(params, frozen, batch, draws) -> (scalar, metrics)`. The terms are in `losses`,
the networks in `models`; the weights are config.loss and config.autoencoder.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections

from id2face_jax.generation.generate import to_float
from id2face_jax.models.build import make_autoencoder


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
        """L1 and L2, by the weights of config.autoencoder."""
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
        return loss, {
            "loss": loss,
            "l1": l1,
            "l2": l2,
            "psnr": 10.0 * jnp.log10(4.0 / l2),
        }
