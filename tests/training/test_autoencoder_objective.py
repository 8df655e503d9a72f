"""Laws of the autoencoder stage: noise of all amounts, a critic that begins late."""

import jax
import jax.numpy as jnp
import numpy as np

from id2face_jax.training import objectives
from tests.training import toy


def photos():
    return jax.tree.map(jnp.asarray, toy.batch())


def draws(config, step):
    objective = objectives.AutoencoderObjective(config)
    drawn = objective.draw(jax.random.key(0), photos())
    num = photos()["image_a"].shape[0]
    return objective, drawn | {"step": jnp.full((num, 2), step, jnp.float32)}


def gradient(step):
    config = toy.config("autoencoder")
    config.autoencoder.adversarial_from = 5
    objective, drawn = draws(config, step)

    def loss(params):
        return objective.loss(params, {}, photos(), drawn)[0]

    return jax.grad(loss)(toy.start("autoencoder").params)


def test_critic_and_adversarial_term_begin_together_and_late():
    before, after = gradient(4), gradient(5)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(before["critic"]))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(after["critic"]))
    pairs = zip(
        *(jax.tree.leaves(tree["decoder"]) for tree in (before, after)), strict=True
    )
    assert any(not np.allclose(one, other) for one, other in pairs)


def test_each_photo_has_its_own_amount_of_noise():
    config = toy.config("autoencoder")
    config.data.batch_size = 8
    _, drawn = draws(config, 0)
    amounts = np.asarray(drawn["noise"]).std(axis=(2, 3, 4)).ravel()
    assert amounts.min() < 0.3 and amounts.max() > 0.7
    assert len(set(amounts.round(3))) == len(amounts)
