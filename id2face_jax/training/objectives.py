"""The objectives of the stages, from a config; and the autoencoder stage's own.

An objective has `draw(key, batch)`, the step's randomness for a whole batch, and
`loss(params, frozen, batch, draws) -> (scalar, metrics)`. The terms are in `losses`,
the networks in `models`; the weights are config.loss and config.autoencoder. The
diffusion stage's is in `recomposition`, the last stage's in `finishing`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Float

from id2face_jax.faces import align, appearance, whitening
from id2face_jax.generation import exports
from id2face_jax.generation.generate import to_float
from id2face_jax.models import build
from id2face_jax.models.recognizers import dlib_resnet
from id2face_jax.models.recognizers.crops import CropRecognizer, View
from id2face_jax.training.recomposition import Recomposition


def _latent_side(config: ml_collections.ConfigDict, batch: dict) -> int:
    return batch["image_a"].shape[1] // build.make_autoencoder(config).factor


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
        model = build.make_autoencoder(self.config)
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


def make_recomposition(config: ml_collections.ConfigDict) -> Recomposition:
    """The objective of config.loss on the networks of config.model."""
    autoencoder, data = build.make_autoencoder(config), config.data
    geometry = align.geometry_of(data)
    view = dlib_resnet.view_matrix(data.image_size, geometry.units, geometry.center)
    points = align.template(data.image_size, geometry) / autoencoder.factor
    side = data.image_size // autoencoder.factor
    return Recomposition(
        model=build.make_model(config),
        autoencoder=autoencoder,
        prediction=build.make_prediction(config),
        alpha_sigma=build.noise_schedule(config),
        weights=ml_collections.FrozenConfigDict(config.loss),
        masked=config.model.masked,
        view=view,
        emphasis=_emphasis(points, side, config.loss.feature_weight),
        second=make_second_recognizer(config),
        directions=_directions(config),
    )


def make_second_recognizer(
    config: ml_collections.ConfigDict,
) -> CropRecognizer | None:
    """The recognizer of config.loss.second_recognizer, looking at config.data's crops.

    Raises ValueError for an export of something else, or of another length.
    """
    path = config.loss.second_recognizer
    if not path:
        return None
    found = exports.load_config(path)
    if found.task != "recognizer":
        raise ValueError(
            f"loss.second_recognizer is {path}, an export of task {found.task}; "
            "expected a recognizer that `id2face convert` wrote"
        )
    network, view = build.make_recognizer(found), View(**found.view)
    if network.dim != config.loss.second_dim:
        raise ValueError(
            f"loss.second_dim is {config.loss.second_dim} and the embeddings of {path} "
            f"have {network.dim} numbers; set loss.second_dim={network.dim}"
        )
    geometry = align.geometry_of(config.data)
    place = (config.data.image_size, geometry.units, geometry.center)
    return CropRecognizer(network, view, view.matrix(*place))


def _directions(config) -> Float[np.ndarray, "k d"] | None:
    if not config.loss.deployed_appearance:
        return None
    directions = appearance.load(whitening.load().name)
    if directions.shape[1] != config.model.embedding_dim:
        raise ValueError(
            f"model.embedding_dim is {config.model.embedding_dim} and the directions "
            f"of appearance are for {directions.shape[1]}; set "
            "loss.deployed_appearance=False"
        )
    return directions


def _emphasis(
    points: Float[np.ndarray, "5 2"], side: int, weight: float
) -> Float[np.ndarray, "h h"]:
    """1 in most cells, up to `weight` around eyes and mouth, where expression is."""
    eyes, corners = points[:2], points[3:]
    reach = np.linalg.norm(eyes[1] - eyes[0]) / 4
    spots = np.concatenate([eyes, corners, corners.mean(0)[None]]) + 0.5
    y, x = np.mgrid[:side, :side] + 0.5
    distance = [np.hypot(x - px, y - py) / reach for px, py in spots]
    near = np.exp(-0.5 * np.min(distance, axis=0) ** 2)
    return (1.0 + (weight - 1.0) * near).astype(np.float32)
