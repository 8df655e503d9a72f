"""Laws of the training step, both tasks, on the smoke config and synthetic people."""

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
from id2face_jax.training import recomposition, steps
from tests.draws import normal, random_like

TASKS = steps.TASKS
TERMS = (
    "recomposition",
    "identity_reconstruction",
    "identity_kl",
    "identity_consistency",
    "identity_alignment",
    "attribute_alignment",
    "attribute_kl",
    "leak_probe",
    "identity_leak",
    "portrait",
    "critic",
    "adversarial",
    "verifier",
    "verified_leak",
)


def _config(task, **changes):
    config = smoke.get_config()
    config.task = task
    config.data.batch_size = 8
    config.optim.lr, config.optim.lr_warmup_steps = 3e-3, 2
    config.train.num_steps = 1000
    # A maximum over a batch's mean is not a mean over micro-batches.
    config.loss.identity_free_nats = 0.0
    # It chooses among the rows that it is given.
    config.loss.verifier_dim = changes.pop("verifier_dim", config.loss.verifier_dim)
    config.optim.update(changes)
    return config


@functools.cache
def _batch():
    """Eight real pairs."""
    config = smoke.get_config()
    config.data.pair_prob = 1.0
    return pipeline.first_batch(config, 8)


@functools.cache
def _start(task):
    """A state with small random parameters, so that nothing is zero."""
    made = steps.make_task(_config(task))
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    params = random_like(shapes.params, scale=0.1)
    if "critic" in params:
        # Beyond the hinge: inside of it, both sides push the last bias equally.
        params["critic"]["out"]["kernel"] *= 10.0
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes.opt_state)
    return shapes.replace(
        step=jnp.int32(0),
        params=params,
        ema=params,
        opt_state=zeros,
        frozen=random_like(shapes.frozen, scale=0.1),
    )


@functools.cache
def _step(task, **changes):
    return jax.jit(steps.make_task(_config(task, **changes)).train_step)


def _run(task, num, batch=None, **changes):
    """(last state, metrics of each step) on one batch."""
    state, seen = _start(task), []
    for _ in range(num):
        state, metrics = _step(task, **changes)(state, batch or _batch())
        seen.append(jax.device_get(metrics))
    return state, seen


def _assert_close(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


@pytest.mark.parametrize("task", TASKS)
def test_loss_falls_when_overfitting_one_batch(task):
    _, seen = _run(task, 60)
    first = np.mean([m["loss"] for m in seen[:5]])
    last = np.mean([m["loss"] for m in seen[-5:]])
    assert last < 0.7 * first


@pytest.mark.parametrize("task", TASKS)
def test_every_parameter_learns(task):
    """No part is cut off from the loss: each leaf moves within a few steps."""
    state, _ = _run(task, 3)
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), state.params, _start(task).params
    )
    still = [path for path, x in jax.tree_util.tree_leaves_with_path(moved) if x == 0]
    assert not still


@pytest.mark.parametrize(
    "change",
    [{"identity_space": "gaussian", "identity_dim": 16}, {"harmonizer": "sum"}]
    + [{"masked": False}, {"portrait": False}, {"identity_grid": 0}]
    + [{"harmonizer": "gated"}, {"prediction": "v"}],
)
def test_ablations_train(change):
    config = _config("id2face")
    config.model.update(change)
    task = steps.make_task(config)
    state, step = jax.jit(task.init)(jax.random.key(0)), jax.jit(task.train_step)
    losses = []
    for _ in range(30):
        state, metrics = step(state, _batch())
        losses.append(float(metrics["recomposition"]))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize("task", TASKS)
def test_metrics_are_finite_float32_scalars(task):
    _, seen = _run(task, 1)
    for name, value in seen[0].items():
        assert value.shape == () and value.dtype == np.float32, name
        assert np.isfinite(value), name


def test_the_loss_is_the_sum_of_its_terms_and_their_error_that_of_all_times():
    _, seen = _run("id2face", 1)
    weights, metrics = _config("id2face").loss, seen[0]
    terms = [name for name in metrics if name in weights]
    assert sorted(terms) == sorted(TERMS)
    total = sum(weights[name] * metrics[name] for name in terms)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    quarters = [metrics[f"recomposition_t{i}"] for i in (1, 2, 3, 4)]
    draws = _objective().draw(jax.random.fold_in(jax.random.key(0), 0), _batch())
    t = np.asarray(draws["t"]).T.ravel()[np.arange(16) % 4 != 0]  # recomposed rows
    counts = np.bincount(np.minimum(4 * t, 3).astype(int), minlength=4)
    mean = np.average(quarters, weights=counts)
    np.testing.assert_allclose(mean, metrics["recomposition"], rtol=1e-5)


def _gradient(**weights):
    """Of the loss whose only terms are those given."""
    config = _config("id2face")
    config.loss.update(dict.fromkeys(TERMS, 0.0) | weights)
    objective, state = recomposition.make_recomposition(config), _start("id2face")
    draws = objective.draw(jax.random.key(0), _batch())

    def loss(params):
        return objective.loss(params, state.frozen, _batch(), draws)[0]

    return jax.device_get(jax.jit(jax.grad(loss))(state.params))


def test_the_adversary_seeks_and_the_encoder_hides():
    """Each side of the game moves its own networks alone, and in its own favour."""
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
    config = _config("id2face")
    config.loss.critic_dim = 0
    made = steps.make_task(config)
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    assert "critic" not in shapes.params
    objective = recomposition.make_recomposition(config)
    draws = jax.eval_shape(objective.draw, jax.random.key(0), _batch())
    loss = jax.eval_shape(objective.loss, shapes.params, shapes.frozen, _batch(), draws)
    assert not {"critic", "adversarial"} & set(loss[1])


def test_the_portrait_learns_from_its_own_error_alone():
    own, other = _gradient(portrait=1.0), _gradient(recomposition=1.0)
    assert not _is_zero(own["recomposer"]["portrait"])
    assert _is_zero(other["recomposer"]["portrait"])
    assert not _is_zero(other["recomposer"]["identity_in"])
    assert _is_zero(own["unet"])


def _is_zero(tree):
    return not any(np.any(x) for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("task", TASKS)
def test_a_step_is_a_function_of_state_and_batch(task):
    (one, _), (other, _) = _run(task, 2), _run(task, 2)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("task", TASKS)
def test_noise_changes_from_step_to_step(task):
    """With a learning rate of 0, as in the first step, only the noise differs."""
    start = _start(task)
    first, _ = _step(task)(start, _batch())
    np.testing.assert_array_equal(
        jax.tree.leaves(first.params)[0], jax.tree.leaves(start.params)[0]
    )
    metrics = [
        _step(task)(start.replace(step=jnp.int32(i)), _batch())[1] for i in (0, 1)
    ]
    assert metrics[0]["loss"] != metrics[1]["loss"]


@pytest.mark.parametrize("task", TASKS)
def test_accumulation_changes_no_number(task):
    """Deployed rows and all their terms included: rows are chosen by their place."""
    whole, seen = _run(task, 2, verifier_dim=0)
    parts, seen_parts = _run(task, 2, verifier_dim=0, accumulate=2)
    # Sums in another order; Adam divides small numbers by small numbers.
    _assert_close(whole.params, parts.params, rtol=1e-3, atol=1e-4)
    for one, other in zip(seen, seen_parts, strict=True):
        # A part without a row in a quarter of time says 0 of it: no mean of means.
        names = [name for name in one if not name.startswith("recomposition_t")]
        kept = ({name: x[name] for name in names} for x in (one, other))
        _assert_close(*kept, rtol=1e-3, atol=1e-5)


def test_accumulation_changes_no_number_with_the_identity_loss_on(monkeypatch):
    """The recognizer looks at the same rows, whichever micro-batch they fall in."""

    def embed(params, face, view, mirror):  # in its place: one layer
        return jnp.tanh(face.reshape(len(face), -1) @ params)

    monkeypatch.setattr(recomposition.dlib_resnet, "embed_crops", embed)
    dim = smoke.get_config().model.embedding_dim
    known = _batch()["embedding_a"][0]  # whom it sees in every face
    recognizer = {"params": normal(32 * 32 * 3, dim), "mean": -20.0 * known}
    frozen = {"recognizer": recognizer | {"matrix": jnp.eye(dim)}}
    start = _start("id2face")
    start = start.replace(frozen=start.frozen | frozen)
    found = []
    for parts in (1, 2):
        config = _config("id2face", verifier_dim=0, accumulate=parts)
        config.loss.asked_identity = config.loss.source_identity = 1.0
        step = jax.jit(steps.make_task(config, frozen).train_step)
        found.append(step(start, _batch())[1])
    assert found[0]["asked_identity"] > 0.0 and found[0]["source_identity"] > 0.0
    for name in ("asked_identity", "source_identity", "loss", "grad_norm"):
        _assert_close(found[0][name], found[1][name], rtol=1e-3, atol=1e-5)


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch of 8 does not divide .*accumulate=3"):
        jax.eval_shape(
            _step("autoencoder", accumulate=3), _start("autoencoder"), _batch()
        )


@pytest.mark.parametrize("task", TASKS)
def test_the_average_follows_the_parameters_and_the_frozen_stay(task):
    start = _start(task)
    state, _ = _run(task, 3)
    assert int(state.step) == 3
    jax.tree.map(np.testing.assert_array_equal, state.frozen, start.frozen)
    between = jax.tree.map(
        lambda old, new, ema: bool(
            jnp.all(jnp.abs(ema - new) <= jnp.abs(old - new).max() + 1e-6)
        ),
        start.params,
        state.params,
        state.ema,
    )
    assert all(jax.tree.leaves(between))
    assert np.any(jax.tree.leaves(state.ema)[0] != jax.tree.leaves(state.params)[0])


def test_evaluation_repeats_itself_and_looks_at_the_average_only():
    task, start = steps.make_task(_config("autoencoder")), _start("autoencoder")
    evaluate = jax.jit(task.eval_step)
    one = evaluate(start, _batch(), jnp.int32(0))
    moved = start.replace(params=jax.tree.map(jnp.zeros_like, start.params))
    _assert_close(one, evaluate(moved, _batch(), jnp.int32(0)), rtol=0)
    other = evaluate(start, _batch(), jnp.int32(1))
    assert one["loss"] != other["loss"]
    blank = start.replace(ema=jax.tree.map(jnp.zeros_like, start.ema))
    assert one["loss"] != evaluate(blank, _batch(), jnp.int32(0))["loss"]


@pytest.mark.parametrize("task", TASKS)
def test_a_grid_has_a_row_a_face_and_a_column_a_label(task):
    made = steps.make_task(_config(task))
    grid = jax.eval_shape(made.sample_grid, _start(task), _batch())
    assert grid.shape == (8, len(made.grid_labels), 32, 32, 3)
    assert grid.dtype == jnp.uint8


@pytest.mark.parametrize("task", TASKS)
def test_initial_state_holds_its_average_in_buffers_of_its_own(task):
    """The step donates the state: one buffer in two fields would crash it."""
    made = steps.make_task(_config(task))
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    assert jax.tree.structure(shapes.params) == jax.tree.structure(shapes.ema)
    params = {"a": jnp.ones(3)}
    state = steps._initial_state(_config(task), params, {})
    pointers = [x["a"].unsafe_buffer_pointer() for x in (state.params, state.ema)]
    assert pointers[0] != pointers[1]


def test_a_warm_start_takes_parameters_of_the_same_form_alone():
    start = _start("autoencoder")
    params = jax.tree.map(lambda x: np.asarray(x) + 1.0, start.params)
    warm = steps.start_from(start, params)
    _assert_close(warm.params, params)
    _assert_close(warm.ema, params)
    with pytest.raises(ValueError, match="train.init_from holds other parameters"):
        steps.start_from(start, {"decoder": params})


def test_a_warm_start_needs_no_critic_and_takes_the_one_that_there_is():
    start = _start("id2face")
    params = jax.tree.map(lambda x: np.asarray(x) + 1.0, start.params)
    _assert_close(steps.start_from(start, params).params, params)
    critic = params.pop("critic")
    warm = steps.start_from(start, params)
    _assert_close(warm.params, params | {"critic": start.params["critic"]})
    without = start.replace(
        params={k: v for k, v in start.params.items() if k in params}
    )
    _assert_close(steps.start_from(without, params | {"critic": critic}).ema, params)
    with pytest.raises(ValueError, match="train.init_from holds other parameters"):
        steps.start_from(start, {"critic": critic})


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task is 'gan'; expected one of"):
        steps.make_task(_config("gan"))


def test_missing_frozen_networks_are_named():
    config = _config("id2face")
    config.autoencoder.weights = ""
    with pytest.raises(ValueError, match="--config.autoencoder.weights=EXPORT"):
        steps.make_task(config)
    config = _config("id2face")
    config.loss.asked_identity = 0.5
    with pytest.raises(ValueError, match="loss.asked_identity is 0.5 .*need"):
        steps.make_task(config)


@functools.cache
def _draw():
    config = _config("id2face")
    config.loss.identity_dropout = 0.25
    batch = {"image_a": np.zeros((64, 32, 32, 3), np.uint8)}
    objective = recomposition.make_recomposition(config)
    return jax.jit(lambda key: objective.draw(key, batch))


def _draws(seed=0):
    return jax.device_get(_draw()(jax.random.key(seed)))


def test_every_step_sees_all_noise_levels():
    """A tenth of the rows at t = 1, the rest spread evenly over the distribution."""
    t, weights = np.sort(_draws()["t"].ravel()), _config("id2face").loss
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
    config = _config("id2face")
    config.loss.update(changes)
    return recomposition.make_recomposition(config)


def test_deployed_rows_ask_for_a_sampled_identity_at_the_angle_and_the_rest_do_not():
    objective, state = _objective(deployed_every=4), _start("id2face")
    side = recomposition.Sides(_batch(), objective.draw(jax.random.key(0), _batch()))
    f_hat = jnp.asarray(side.embeddings[::-1])
    f, keep, is_deployed = objective._requests(state.params, side, f_hat)
    np.testing.assert_array_equal(is_deployed, [1, 0, 0, 0] * 4)
    own = np.asarray(is_deployed) == 0
    np.testing.assert_array_equal(f[own], side.swap(f_hat)[own])
    np.testing.assert_array_equal(keep[~own], 1.0)
    cosines = jnp.sum(f * side.embeddings, axis=-1)[~own]
    np.testing.assert_allclose(cosines, np.cos(np.deg2rad(100.0)), atol=1e-5)


def test_deployed_rows_keep_the_appearance_where_directions_are_known():
    config = _config("id2face")
    config.model.embedding_dim, config.loss.deployed_appearance = 128, True
    objective = recomposition.make_recomposition(config)
    assert objective.directions.shape == (3, 128)
    directions = np.eye(16, dtype=np.float32)[:2]
    small = dataclasses.replace(_objective(), directions=directions)
    side = recomposition.Sides(_batch(), small.draw(jax.random.key(0), _batch()))
    f, _, _ = small._requests(_start("id2face").params, side, side.embeddings)
    np.testing.assert_allclose(f[::4, :2], side.embeddings[::4, :2], atol=1e-5)
    config.model.embedding_dim = 16
    with pytest.raises(ValueError, match="embedding_dim is 16 and the directions"):
        recomposition.make_recomposition(config)


def test_a_deployed_row_never_sees_its_own_photo_under_the_mask():
    """z_t is noise, or made of what the network drew: other pixels under the mask,
    the same surroundings and attributes, change nothing that it starts from."""
    objective, state = _objective(deployed_every=4), _start("id2face")
    side = recomposition.Sides(_batch(), objective.draw(jax.random.key(0), _batch()))
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
    config = _config("id2face")
    config.model.embedding_dim = 128
    config.loss.update(dict.fromkeys(TERMS, 0.0))
    config.loss.asked_identity = 1.0
    batch = pipeline.first_batch(config, 8)
    task = steps.make_task(config, {"recognizer": whitening.judge()})
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    params = random_like(shapes.params, scale=0.1)
    frozen = {
        "autoencoder": random_like(shapes.frozen["autoencoder"], scale=0.1),
        "recognizer": jax.tree.map(jnp.asarray, whitening.judge()),
    }
    objective = recomposition.make_recomposition(config)
    draws = objective.draw(jax.random.key(0), batch)
    value_and_grad = jax.jit(jax.value_and_grad(objective.loss, has_aux=True))
    (_, metrics), grads = value_and_grad(params, frozen, batch, draws)
    assert 0.0 < metrics["asked_identity"] < 2.0
    assert 0.0 <= metrics["source_identity"] <= 1.0
    for name in ("unet", "attribute_encoder", "recomposer"):
        assert not _is_zero(grads[name]), name
    assert _is_zero(grads["leak_probe"])
