"""Laws of the diffusion stage's objective, on the smoke config and made-up people."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from id2face_jax.data import pipeline
from id2face_jax.faces import whitening
from id2face_jax.models.recomposer import LeakProbe
from id2face_jax.training import objectives, recomposition, steps
from tests import runs
from tests.draws import normal, random_like
from tests.training import toy


def test_the_loss_is_the_sum_of_its_terms_and_their_error_that_of_all_times():
    _, seen = toy.run("id2face", 1)
    weights, metrics = toy.config("id2face").loss, seen[0]
    terms = [name for name in metrics if name in weights]
    assert sorted(terms) == sorted(toy.TERMS)
    total = sum(weights[name] * metrics[name] for name in terms)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    quarters = [metrics[f"recomposition_t{i}"] for i in (1, 2, 3, 4)]
    draws = _objective().draw(jax.random.fold_in(jax.random.key(0), 0), toy.batch())
    t = np.asarray(draws["t"]).T.ravel()[np.arange(16) % 4 != 0]  # recomposed rows
    counts = np.bincount(np.minimum(4 * t, 3).astype(int), minlength=4)
    mean = np.average(quarters, weights=counts)
    np.testing.assert_allclose(mean, metrics["recomposition"], rtol=1e-5)


@functools.cache
def _gradients():
    """(params, weights) -> gradient: one program for all weights of the terms."""
    objective = objectives.make_recomposition(toy.config("id2face"))
    draws = objective.draw(jax.random.key(0), toy.batch())
    frozen = toy.start("id2face").frozen

    def loss(params, weights):
        _, terms = objective.loss(params, frozen, toy.batch(), draws)
        return sum(weight * terms[name] for name, weight in weights.items())

    return jax.jit(jax.grad(loss))


def _gradient(**weights):
    """Of the loss, the sum above, whose only terms are those given."""
    weights = dict.fromkeys(toy.TERMS, 0.0) | weights
    return jax.device_get(_gradients()(toy.start("id2face").params, weights))


def test_the_adversary_seeks_and_the_encoder_hides():
    """Each side of the game moves its own networks alone, and in its own favor."""
    seek, hide = _gradient(leak_probe=1.0), _gradient(identity_leak=1.0)
    for name in seek:
        assert _is_zero(seek[name]) == (name != "leak_probe"), name
        assert _is_zero(hide[name]) == (name != "attribute_encoder"), name


def test_the_critic_seeks_and_the_painters_deceive():
    """As the adversary: own networks alone. What a critic learns helps no encoder."""
    seek, deceive = _gradient(critic=1.0), _gradient(adversarial=1.0)
    for name in seek:
        assert _is_zero(seek[name]) == (name != "critic"), name
    for name in ("unet", "recomposer", "attribute_encoder"):
        assert not _is_zero(deceive[name]), name
    assert _is_zero(deceive["critic"]) and _is_zero(deceive["leak_probe"])


def test_without_a_critic_there_is_none():
    config = toy.config("id2face")
    config.loss.critic_dim = 0
    made = steps.make_task(config)
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    assert "critic" not in shapes.params
    objective = objectives.make_recomposition(config)
    draws = jax.eval_shape(objective.draw, jax.random.key(0), toy.batch())
    loss = jax.eval_shape(
        objective.loss, shapes.params, shapes.frozen, toy.batch(), draws
    )
    assert not {"critic", "adversarial"} & set(loss[1])


def test_the_template_learns_from_its_own_error_alone():
    own, other = _gradient(portrait=1.0), _gradient(recomposition=1.0)
    assert not _is_zero(own["recomposer"]["portrait"])
    assert _is_zero(other["recomposer"]["portrait"])
    assert not _is_zero(other["recomposer"]["identity_in"])
    assert _is_zero(own["unet"])


def _is_zero(tree):
    return not any(np.any(x) for x in jax.tree.leaves(tree))


def test_accumulation_changes_no_number_with_the_identity_loss_on(monkeypatch):
    """Rows are chosen by their place: deployed ones and those that the recognizer looks
    at are the same rows, whichever micro-batch they fall in."""

    def embed(params, face, view, mirror):  # in its place: one layer
        return jnp.tanh(face.reshape(len(face), -1) @ params)

    monkeypatch.setattr(recomposition.dlib_resnet, "embed_crops", embed)
    dim = smoke.get_config().model.embedding_dim
    known = toy.batch()["embedding_a"][0]  # whom it sees in every face
    recognizer = {"params": normal(32 * 32 * 3, dim), "mean": -20.0 * known}
    frozen = {"recognizer": recognizer | {"matrix": jnp.eye(dim)}}
    found = []
    for parts in (1, 2):
        config = toy.config("id2face", verifier_dim=0, accumulate=parts)
        config.model.update(runs.ONE_LEVEL)
        config.loss.asked_identity = config.loss.source_identity = 1.0
        step = jax.jit(steps.make_task(config, frozen).train_step)
        found.append(toy.walk(step, toy.start_of(config, frozen), 2))
    for metrics in found[0][1]:
        assert metrics["asked_identity"] > 0.0 and metrics["source_identity"] > 0.0
    toy.assert_same_numbers(*found)


@functools.cache
def _draw():
    config = toy.config("id2face")
    config.loss.identity_dropout = 0.25
    batch = {"image_a": np.zeros((64, 32, 32, 3), np.uint8)}
    objective = objectives.make_recomposition(config)
    return jax.jit(lambda key: objective.draw(key, batch))


def _draws(seed=0):
    return jax.device_get(_draw()(jax.random.key(seed)))


def test_every_step_sees_all_noise_levels():
    """A tenth of the rows at t = 1, the rest spread evenly over the distribution."""
    t, weights = np.sort(_draws()["t"].ravel()), toy.config("id2face").loss
    assert np.mean(t == 1.0) == pytest.approx(weights.t_one_share, abs=1 / 64)
    inner = t[t < 1.0]
    assert inner.min() >= 0.01
    normal = (np.log(inner / (1 - inner)) - weights.t_mean) / weights.t_std
    expected = (np.arange(len(inner)) + 0.5) / len(inner)
    seen = np.array([0.5 * (1 + math.erf(x / 2**0.5)) for x in normal])
    np.testing.assert_allclose(seen, expected, atol=0.02)


def test_the_null_identity_is_drawn_as_often_as_asked():
    keep = np.concatenate([_draws(seed)["keep"].ravel() for seed in range(8)])
    assert set(np.unique(keep)) == {0.0, 1.0}
    np.testing.assert_allclose(keep.mean(), 0.75, atol=0.07)  # sd 0.0135


def test_the_two_directions_of_a_pair_have_noise_of_their_own():
    for name in ("noise", "identity", "attributes"):
        draw = _draws()[name]
        assert not np.any(draw[:, 0] == draw[:, 1]), name


def _objective(**changes):
    config = toy.config("id2face")
    config.loss.update(changes)
    return objectives.make_recomposition(config)


def test_deployed_rows_ask_for_a_sampled_identity_at_the_angle_and_the_rest_do_not():
    objective, state = _objective(deployed_every=4), toy.start("id2face")
    side = recomposition.Sides(
        toy.batch(), objective.draw(jax.random.key(0), toy.batch())
    )
    f_hat = jnp.asarray(side.embeddings[::-1])
    f, keep, is_deployed = objective._requests(state.params, side, f_hat)
    np.testing.assert_array_equal(is_deployed, [1, 0, 0, 0] * 4)
    own = np.asarray(is_deployed) == 0
    np.testing.assert_array_equal(f[own], side.swap(f_hat)[own])
    np.testing.assert_array_equal(keep[~own], 1.0)
    cosines = jnp.sum(f * side.embeddings, axis=-1)[~own]
    angle = np.deg2rad(objective.weights.deployed_angle)
    np.testing.assert_allclose(cosines, np.cos(angle), atol=1e-5)


def test_deployed_rows_keep_the_appearance_where_directions_are_known():
    config = toy.config("id2face")
    config.model.embedding_dim, config.loss.deployed_appearance = 128, True
    objective = objectives.make_recomposition(config)
    assert objective.directions.shape == (3, 128)
    directions = np.eye(16, dtype=np.float32)[:2]
    small = dataclasses.replace(_objective(), directions=directions)
    side = recomposition.Sides(toy.batch(), small.draw(jax.random.key(0), toy.batch()))
    f, _, _ = small._requests(toy.start("id2face").params, side, side.embeddings)
    np.testing.assert_allclose(f[::4, :2], side.embeddings[::4, :2], atol=1e-5)
    config.model.embedding_dim = 16
    with pytest.raises(ValueError, match="embedding_dim is 16 and the directions"):
        objectives.make_recomposition(config)


def test_a_deployed_row_never_sees_its_own_photo_under_the_mask():
    """z_t is noise, or made of what the network drew: other pixels under the mask,
    the same surroundings and attributes, change nothing that it starts from."""
    objective, state = _objective(deployed_every=4), toy.start("id2face")
    side = recomposition.Sides(
        toy.batch(), objective.draw(jax.random.key(0), toy.batch())
    )
    z, zm, mask = (jnp.asarray(x) for x in (np.ones((16, 4, 4, 4)),) * 3)
    mask = mask[..., :1]
    model, params = objective.model, {"params": state.params}
    a = jnp.zeros((16, *side.draws["attributes"].shape[1:]))
    who, keep = side.embeddings, jnp.ones(16)
    condition = model.apply(params, who, a, keep, method="recompose")
    t, zt = objective._noisy(state.params, side, condition, z, zm, mask)
    _, moved = objective._noisy(state.params, side, condition, z + 1.0, zm, mask)
    # At t = 1 the schedule leaves 4e-8 of the image.
    changed = np.any(np.abs(zt - moved) > 1e-5, axis=(1, 2, 3))
    recomposed = np.arange(16) % 4 != 0
    np.testing.assert_array_equal(changed, recomposed & np.asarray(t < 1.0))
    assert np.all(t[::4] >= 0.3)


def test_pairs_that_leave_a_part_without_its_share_are_refused():
    with pytest.raises(ValueError, match="deployed_every=3"):
        _objective(deployed_every=3)._is_deployed(16)


def test_cells_of_eyes_and_mouth_weigh_more():
    emphasis = _objective(feature_weight=3.0).emphasis
    assert emphasis.min() >= 1.0 and 2.0 < emphasis.max() <= 3.0
    np.testing.assert_array_equal(_objective(feature_weight=1.0).emphasis, 1.0)


@pytest.mark.slow
def test_the_recognizer_moves_who_is_drawn_and_stays_as_it_is():
    """The real one: what it sees reaches every network that draws."""
    config = toy.config("id2face")
    config.model.embedding_dim = 128
    config.loss.update(dict.fromkeys(toy.TERMS, 0.0))
    config.loss.asked_identity = 1.0
    batch = pipeline.first_batch(config, 8)
    task = steps.make_task(config, {"recognizer": whitening.frozen_recognizer()})
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    params = random_like(shapes.params, scale=0.1)
    frozen = {
        "autoencoder": random_like(shapes.frozen["autoencoder"], scale=0.1),
        "recognizer": jax.tree.map(jnp.asarray, whitening.frozen_recognizer()),
    }
    objective = objectives.make_recomposition(config)
    draws = objective.draw(jax.random.key(0), batch)
    value_and_grad = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (_, metrics), grads = value_and_grad(params, frozen, batch, draws)
    assert 0.0 < metrics["asked_identity"] < 2.0
    assert 0.0 <= metrics["source_identity"] <= 1.0
    for name in ("unet", "attribute_encoder", "recomposer"):
        assert not _is_zero(grads[name]), name
    assert _is_zero(grads["leak_probe"])


def _supplied(params, side, z, objective):
    ones = np.ones((*z.shape[:3], 1), np.float32)
    mask = jnp.asarray(ones).at[:, :2].set(0.0)
    return objective._suppliers(params, side, z, z * (1.0 - mask), mask), mask


def test_returned_rows_read_attributes_of_somebody_else_and_the_rest_of_the_photo():
    objective, state = _objective(), toy.start("id2face")
    draws = objective.draw(jax.random.key(0), toy.batch())
    side = recomposition.Sides(toy.batch(), draws)
    z = jax.random.normal(jax.random.key(1), (16, 4, 4, 4))
    supplied, mask = _supplied(state.params, side, z, objective)
    changed = np.asarray(jnp.any(supplied != z, axis=(1, 2, 3)))
    np.testing.assert_array_equal(changed, np.arange(16) % 4 == 1)
    # Around the mask it is the photo's own.
    np.testing.assert_array_equal(supplied[:, :2], z[:, :2])
    # Who appears is sampled: other draws, another face; and it has no gradient.
    side.draws["sampled"] = side.draws["sampled"] + 1.0
    other, _ = _supplied(state.params, side, z, objective)
    assert np.all(np.any(other != supplied, axis=(1, 2, 3)) == changed)
    gradient = jax.grad(
        lambda params: jnp.sum(_supplied(params, side, z, objective)[0] ** 2)
    )(state.params)
    assert _is_zero(gradient)


def test_without_returned_rows_attributes_are_those_of_the_photo():
    objective, state = _objective(returned_every=0), toy.start("id2face")
    draws = objective.draw(jax.random.key(0), toy.batch())
    side = recomposition.Sides(toy.batch(), draws)
    z = jax.random.normal(jax.random.key(1), (16, 4, 4, 4))
    assert _supplied(state.params, side, z, objective)[0] is z


class _Colors:
    """In place of a second recognizer: the mean of a face's first pixels."""

    def __call__(self, frozen, faces):
        x = faces[:, :8, :8].reshape(len(faces), -1) @ frozen["params"]
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _second_gradient(name):
    config = toy.config("id2face")
    config.loss.update(dict.fromkeys((*toy.TERMS, *SECOND), 0.0))
    config.loss[name] = 1.0
    objective = objectives.make_recomposition(config)
    shapes = jax.eval_shape(steps.make_task(config).init, jax.random.key(0))
    probe, mu = (
        LeakProbe(6, config.model.leak_probe_dim),
        jnp.zeros((1, 2, 2, config.model.attribute_channels)),
    )
    second = jax.eval_shape(probe.init, jax.random.key(0), mu)["params"]
    params = random_like(shapes.params | {"second_probe": second}, scale=0.1)
    frozen = random_like(shapes.frozen, scale=0.1)
    model = objective.model.clone(second_dim=6)
    objective = dataclasses.replace(objective, second=_Colors(), model=model)
    batch = toy.batch() | {"mask_a": np.full((8, 32, 32), 255, np.uint8)}
    draws = objective.draw(jax.random.key(0), batch)
    gradient = jax.jit(jax.grad(objective.loss, has_aux=True))
    for sign in (1.0, -1.0):  # what is unlike already has no gradient
        frozen["second"] = {"params": sign * normal(8 * 8 * 3, 6)}
        grads, metrics = gradient(params, frozen, batch, draws)
        if metrics[name] > 0.0:
            return grads
    raise AssertionError(f"{name} is 0 either way")


SECOND = ("second_probe", "second_leak", "second_source")


def test_the_second_probe_seeks_and_the_encoder_hides():
    seeks, hides = _second_gradient("second_probe"), _second_gradient("second_leak")
    assert not _is_zero(seeks["second_probe"]) and _is_zero(seeks["attribute_encoder"])
    assert _is_zero(hides["second_probe"]) and not _is_zero(hides["attribute_encoder"])
    assert _is_zero(hides["unet"])


def test_what_the_second_recognizer_sees_moves_all_that_draws():
    grads = _second_gradient("second_source")
    for name in ("unet", "attribute_encoder", "recomposer"):
        assert not _is_zero(grads[name]), name
    assert _is_zero(grads["second_probe"])
