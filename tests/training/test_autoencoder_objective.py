"""Laws of the autoencoder stage."""

import jax
import jax.numpy as jnp
import numpy as np

from id2face_jax.training import objectives
from tests.training import toy


def test_each_photo_has_its_own_amount_of_noise():
    objective = objectives.AutoencoderObjective(toy.config("autoencoder"))
    batch = jax.tree.map(jnp.asarray, toy.batch())
    drawn = objective.draw(jax.random.key(0), batch)
    amounts = np.asarray(drawn["noise"]).std(axis=(2, 3, 4)).ravel()
    assert amounts.min() < 0.3 and amounts.max() > 0.7
    assert len(set(amounts.round(3))) == len(amounts)
