"""Made-up people, a stand-in recognizer and a tiny random generator, for tests."""

import jax.numpy as jnp
import ml_collections
import numpy as np

from configs import smoke
from id2face_jax.data import pipeline
from id2face_jax.evaluation import people
from id2face_jax.evaluation.context import Context
from id2face_jax.evaluation.methods.generator import Generator
from id2face_jax.evaluation.models.network import Network
from id2face_jax.models import build
from tests.draws import random_params

SIZE, DIM, NUM_PHOTOS = 32, 16, 40


class MadeUpPeople:
    """pipeline.SyntheticSource with the fields that only an evaluation reads."""

    def __init__(self, order=None):
        self._source = pipeline.SyntheticSource(SIZE, num_photos=NUM_PHOTOS, dim=DIM)
        self._order = np.arange(NUM_PHOTOS) if order is None else order

    def __len__(self):
        return len(self._order)

    @property
    def person_ids(self):
        return self._source.person_ids[self._order]

    def __getitem__(self, index):
        number = int(self._order[index])
        record = self._source[number]
        return record | {
            "person": f"person {record['person_id']}",
            "photo": f"{number:03d}.jpg",
            "matrix": np.float32([[0.5, 0, 0], [0, 0.5, 0]]),
        }


def find(detector, images, landmarks):
    """In the place of detectors.find_faces: these faces are no faces."""
    del detector
    return {
        "found": np.ones(len(images), bool),
        "landmarks": landmarks,
        "box": np.concatenate([landmarks[:, 0] - 6, landmarks[:, 4] + 6], axis=-1),
        "score": np.ones(len(images), np.float32),
    }


def look(images, landmarks):
    """In the place of a recognizer: the colors of a coarse picture, mixed."""
    del landmarks
    x = np.stack([image[::8, ::8].ravel() for image in images]).astype(np.float32)
    mix = np.random.default_rng(0).normal(size=(x.shape[1], DIM)).astype(np.float32)
    x = (x - 127.5) @ mix
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)


def open_context(root, order=None) -> Context:
    """The made-up people, with the stand-in for the built-in recognizer."""
    network = Network(look, "stand-in", independent=False)
    return Context(people.select(MadeUpPeople(order), None, 0), {"dlib": network}, root)


def make_generator() -> Generator:
    """The smoke model with random weights, two steps."""
    config = smoke.get_config()
    model, autoencoder = build.make_model(config), build.make_autoencoder(config)
    x = jnp.zeros((1, SIZE, SIZE, 3))
    z = jnp.zeros((1, 4, 4, config.autoencoder.latent_channels))
    init = (z, z, z[..., :1], jnp.ones(1), jnp.zeros((1, DIM)))
    weights = {
        "model": random_params(model, *init)["params"],
        "autoencoder": random_params(autoencoder, x, scale=0.05)["params"],
    }
    frozen = ml_collections.FrozenConfigDict(config)
    return Generator(frozen, weights, "random", 2, 90.0, 8)
