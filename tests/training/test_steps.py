"""Laws of the training step, all tasks, on the smoke config and synthetic people."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.training import steps
from tests import runs
from tests.training import toy


@pytest.mark.parametrize("task", toy.TASKS)
def test_loss_falls_when_overfitting_one_batch(task):
    _, seen = toy.run(task, 60)
    first = np.mean([m["loss"] for m in seen[:5]])
    last = np.mean([m["loss"] for m in seen[-5:]])
    assert last < 0.7 * first


@pytest.mark.parametrize("task", toy.TASKS)
def test_every_parameter_learns(task):
    """No part is cut off from the loss: each leaf moves within a few steps."""
    state, _ = toy.run(task, 3)
    moved = jax.tree.map(
        lambda a, b: float(jnp.abs(a - b).max()), state.params, toy.start(task).params
    )
    still = [path for path, x in jax.tree_util.tree_leaves_with_path(moved) if x == 0]
    assert not still


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [{"identity_space": "gaussian", "identity_dim": 16}, {"harmonizer": "sum"}]
    + [{"masked": False}, {"portrait": False}, {"identity_grid": 0}]
    + [{"harmonizer": "gated"}, {"prediction": "v"}],
)
def test_ablations_train(change):
    config = toy.config("id2face")
    config.model.update(runs.ONE_LEVEL | change)
    state, step = toy.start_of(config), jax.jit(steps.make_task(config).train_step)
    losses = []
    for _ in range(30):
        state, metrics = step(state, toy.batch())
        losses.append(float(metrics["recomposition"]))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize("task", toy.TASKS)
def test_metrics_are_finite_float32_scalars(task):
    _, seen = toy.run(task, 1)
    for name, value in seen[0].items():
        assert value.shape == () and value.dtype == np.float32, name
        assert np.isfinite(value), name


@pytest.mark.parametrize("task", toy.TASKS)
def test_a_step_is_a_function_of_state_and_batch(task):
    (one, _), (other, _) = toy.run(task, 2), toy.run(task, 2)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("task", toy.TASKS)
def test_noise_changes_from_step_to_step(task):
    """With a learning rate of 0, as in the first step, only the noise differs."""
    start = toy.start(task)
    first, _ = toy.step(task)(start, toy.batch())
    np.testing.assert_array_equal(
        jax.tree.leaves(first.params)[0], jax.tree.leaves(start.params)[0]
    )
    metrics = [
        toy.step(task)(start.replace(step=jnp.int32(i)), toy.batch())[1] for i in (0, 1)
    ]
    assert metrics[0]["loss"] != metrics[1]["loss"]


@pytest.mark.parametrize("task", [t for t in toy.TASKS if t != "id2face"])
def test_accumulation_changes_no_number(task):
    """That of the diffusion stage is in test_recomposition, with a recognizer."""
    toy.assert_same_numbers(toy.run(task, 2), toy.run(task, 2, accumulate=2))


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch of 8 does not divide .*accumulate=3"):
        jax.eval_shape(
            toy.step("autoencoder", accumulate=3),
            toy.start("autoencoder"),
            toy.batch(),
        )


@pytest.mark.parametrize("task", toy.TASKS)
def test_the_average_follows_the_parameters_and_the_frozen_stay(task):
    start = toy.start(task)
    state, _ = toy.run(task, 3)
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
    task, start = steps.make_task(toy.config("autoencoder")), toy.start("autoencoder")
    evaluate = jax.jit(task.eval_step)
    one = evaluate(start, toy.batch(), jnp.int32(0))
    moved = start.replace(params=jax.tree.map(jnp.zeros_like, start.params))
    toy.assert_close(one, evaluate(moved, toy.batch(), jnp.int32(0)), rtol=0)
    other = evaluate(start, toy.batch(), jnp.int32(1))
    assert one["loss"] != other["loss"]
    blank = start.replace(ema=jax.tree.map(jnp.zeros_like, start.ema))
    assert one["loss"] != evaluate(blank, toy.batch(), jnp.int32(0))["loss"]


@pytest.mark.parametrize("task", toy.TASKS)
def test_a_grid_has_a_row_a_face_and_a_column_a_label(task):
    made = steps.make_task(toy.config(task))
    grid = jax.eval_shape(made.sample_grid, toy.start(task), toy.batch())
    assert grid.shape == (8, len(made.grid_labels), 32, 32, 3)
    assert grid.dtype == jnp.uint8


@pytest.mark.parametrize("task", toy.TASKS)
def test_initial_state_holds_its_average_in_buffers_of_its_own(task):
    """The step donates the state: one buffer in two fields would crash it."""
    made = steps.make_task(toy.config(task))
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    assert jax.tree.structure(shapes.params) == jax.tree.structure(shapes.ema)
    params = {"a": jnp.ones(3)}
    state = steps._initial_state(toy.config(task), params, {})
    pointers = [x["a"].unsafe_buffer_pointer() for x in (state.params, state.ema)]
    assert pointers[0] != pointers[1]


def test_a_warm_start_takes_parameters_of_the_same_form_alone():
    start = toy.start("autoencoder")
    params = jax.tree.map(lambda x: np.asarray(x) + 1.0, start.params)
    warm = steps.start_from(start, params)
    toy.assert_close(warm.params, params)
    toy.assert_close(warm.ema, params)
    with pytest.raises(ValueError, match="train.init_from holds other parameters"):
        steps.start_from(start, {"decoder": params})


def test_a_warm_start_needs_no_critic_and_takes_the_one_that_there_is():
    start = toy.start("id2face")
    params = jax.tree.map(lambda x: np.asarray(x) + 1.0, start.params)
    toy.assert_close(steps.start_from(start, params).params, params)
    critic = params.pop("critic")
    warm = steps.start_from(start, params)
    toy.assert_close(warm.params, params | {"critic": start.params["critic"]})
    without = start.replace(
        params={k: v for k, v in start.params.items() if k in params}
    )
    toy.assert_close(steps.start_from(without, params | {"critic": critic}).ema, params)
    with pytest.raises(ValueError, match="train.init_from holds other parameters"):
        steps.start_from(start, {"critic": critic})


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="task is 'gan'; expected one of"):
        steps.make_task(toy.config("gan"))


def test_missing_frozen_networks_are_named():
    config = toy.config("id2face")
    config.autoencoder.weights = ""
    with pytest.raises(ValueError, match="--config.autoencoder.weights=EXPORT"):
        steps.make_task(config)
    config = toy.config("id2face")
    config.loss.asked_identity = 0.5
    with pytest.raises(ValueError, match="loss.asked_identity is 0.5 .*need"):
        steps.make_task(config)
