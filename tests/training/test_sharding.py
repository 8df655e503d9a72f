"""Sharding: strict rules, what they cover, batches, and device counts that agree."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from configs import autoencoder128, lfw128
from id2face_jax.generation import exports
from id2face_jax.training import programs, sharding
from tests import runs

RULES = (("bias$", "replicate"), ("kernel$", "fsdp"))


def tree(**shapes):
    return {
        "params": {k: jax.ShapeDtypeStruct(v, np.float32) for k, v in shapes.items()}
    }


def test_first_rule_wins_and_the_largest_dimension_is_split():
    rules = (("small/kernel$", "replicate"), *RULES)
    leaves = {
        "small": {"kernel": jax.ShapeDtypeStruct((8, 8), np.float32)},
        "large": {"kernel": jax.ShapeDtypeStruct((3, 3, 16, 8), np.float32)},
        "square": {"kernel": jax.ShapeDtypeStruct((8, 8), np.float32)},
        "bias": jax.ShapeDtypeStruct((8,), np.float32),
    }
    got = sharding.tree_shardings(leaves, runs.make_mesh(2, 4), rules)
    assert got["small"]["kernel"].spec == PartitionSpec()
    assert got["large"]["kernel"].spec == PartitionSpec(None, None, "fsdp", None)
    assert got["square"]["kernel"].spec == PartitionSpec(None, "fsdp")
    assert got["bias"].spec == PartitionSpec()


def test_a_leaf_without_a_rule_is_an_error():
    with pytest.raises(
        ValueError, match=r"no rule matches params/scale of shape \(8,\)"
    ):
        sharding.tree_shardings(
            tree(kernel=(8, 8), bias=(8,), scale=(8,)), runs.make_mesh(1, 8), RULES
        )


@pytest.mark.parametrize("typo", [("kernl$", "fsdp"), ("params/kernel$", "replicate")])
def test_a_rule_without_a_leaf_is_an_error(typo):
    rules = (*RULES, typo)  # misspelt, or behind a rule that takes its leaves
    with pytest.raises(ValueError, match="no leaf is left for"):
        sharding.tree_shardings(
            tree(kernel=(8, 8), bias=(8,)), runs.make_mesh(1, 8), rules
        )


def test_an_unknown_tactic_is_an_error():
    with pytest.raises(ValueError, match="'shard'; use one of"):
        sharding.tree_shardings(
            tree(kernel=(8, 8)), runs.make_mesh(1, 8), (("kernel$", "shard"),)
        )


def test_a_leaf_that_cannot_be_split_is_an_error_before_compiling():
    with pytest.raises(ValueError, match=r"\(3, 5\).*mesh.fsdp=8.*'replicate'"):
        sharding.tree_shardings(
            tree(kernel=(3, 5)), runs.make_mesh(1, 8), (("kernel$", "fsdp"),)
        )


@pytest.mark.parametrize("make_config", [autoencoder128.get_config, lfw128.get_config])
def test_the_default_rules_fit_the_default_models(make_config):
    config = make_config()
    config.autoencoder.weights = "random"
    # The frozen recognizers have tests of their own.
    config.loss.second_recognizer, config.loss.second_dim = "", 0
    config.loss.asked_identity = config.loss.source_identity = 0.0
    layout = programs.make_layout(config, runs.make_mesh(2, 4))
    state = layout.state
    specs = [
        jax.tree.map(lambda x: x.sharding.spec, part)
        for part in (state.params, state.ema)
    ]
    assert specs[0] == specs[1]
    moments = state.opt_state.inner_states["main"].inner_state[1][0].mu
    main = "unet" if config.task == "id2face" else "decoder"
    found = jax.tree.map(lambda x: x.sharding.spec, moments[main])
    assert found == specs[0][main]
    split = [x for x in jax.tree.leaves(state.params) if "fsdp" in x.sharding.spec]
    total = sum(x.size for x in jax.tree.leaves(state.params))
    assert sum(x.size for x in split) > 0.9 * total


def test_parameters_are_really_split():
    state = programs.make_layout(runs.tiny_config(), runs.make_mesh(1, 8))
    with jax.set_mesh(state.mesh):
        params = state.init(jax.random.key(0), {}, None).params
    kernel = params["decoder"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.size * 8 == kernel.size


@pytest.mark.parametrize(("data", "fsdp"), [(3, -1), (2, 2), (-1, -1), (0, 8)])
def test_a_mesh_that_does_not_fit_the_devices_is_an_error(data, fsdp):
    config = runs.tiny_config(mesh__data=data, mesh__fsdp=fsdp)
    with pytest.raises(ValueError, match="there are 8 devices"):
        sharding.make_mesh(config)


def test_minus_one_is_the_rest():
    mesh = sharding.make_mesh(runs.tiny_config(mesh__data=-1, mesh__fsdp=2))
    assert dict(mesh.shape) == {"data": 4, "fsdp": 2}


@pytest.mark.parametrize(("batch", "fix"), [(12, "use 16"), (40, "use 32 or 48")])
def test_a_batch_that_does_not_divide_names_those_that_do(batch, fix):
    config = runs.tiny_config(data__batch_size=batch, optim__accumulate=2)
    with pytest.raises(ValueError, match=f"8 devices x optim.accumulate=2; {fix}"):
        sharding.check_batch(config, runs.make_mesh(8, 1))


def test_a_batch_goes_out_whole_and_in_order():
    rows = np.arange(16 * 3).reshape(16, 3)
    where = sharding.batch_sharding(runs.make_mesh(4, 2))
    out = sharding.put_batch({"x": rows}, where)["x"]
    np.testing.assert_array_equal(out, rows)
    assert out.addressable_shards[0].data.shape == (2, 3)


def test_one_process_holds_every_row():
    where = sharding.batch_sharding(runs.make_mesh(2, 4))
    np.testing.assert_array_equal(sharding.local_rows(where, 16), np.arange(16))


# On another mesh sums run in another order. L1 is left out: its gradient is a sign,
# and one pixel whose sign turns on rounding moves the gradient by 1e-5 of itself.
@pytest.mark.parametrize(
    "task", ["autoencoder", pytest.param("id2face", marks=pytest.mark.slow)]
)
def test_eight_devices_compute_what_one_does(task):
    # No term whose gradient may be nothing but rounding: Adam makes a whole step of it.
    still = {
        "autoencoder__l1_weight": 0.0,
        "loss__portrait": 0.0,
        "loss__verifier": 0.0,
    }
    config = runs.tiny_config(task, **still)
    config.model.update(runs.ONE_LEVEL)
    one, metrics_one = runs.run_steps(config, runs.make_mesh(1, 1), 3)
    eight, metrics_eight = runs.run_steps(config, runs.make_mesh(4, 2), 3)
    losses = [[m["loss"] for m in rows] for rows in (metrics_one, metrics_eight)]
    runs.assert_close(losses[0], losses[1], 1e-5)
    runs.assert_close(one.params, eight.params, 1e-5)
    runs.assert_close(one.ema, eight.ema, 1e-5)


def test_micro_batches_compute_what_one_batch_does():
    mesh = runs.make_mesh(4, 2)
    changes = {"data__batch_size": 16, "autoencoder__l1_weight": 0.0}
    config = runs.tiny_config(**changes)
    one, _ = runs.run_steps(config, mesh, 3)
    two, _ = runs.run_steps(runs.tiny_config(**changes, optim__accumulate=2), mesh, 3)
    runs.assert_close(one.params, two.params, 1e-5)
    runs.assert_close(one.ema, two.ema, 1e-5)


def test_configs_survive_json_with_their_rules():
    config = lfw128.get_config()
    again = exports.from_json(exports.to_json(config))
    assert again.sharding_rules == config.sharding_rules
