"""The full scale runs the same step, losses and sampler, at the size of a toy."""

import jax
import ml_collections
import numpy as np
import pytest

from configs import celebahq256, ffhq512, smoke_full_scale
from id2face_jax.convert import diffusers
from id2face_jax.convert.start import start_model
from id2face_jax.models import build
from id2face_jax.training import sharding, steps
from tests import runs
from tests.convert import foreign


@pytest.mark.slow
def test_two_sharded_steps_train_from_converted_weights():
    config = smoke_full_scale.get_config()
    config.mesh.fsdp = 8
    tensors, _ = diffusers.autoencoder_tensors(foreign.draw("AutoencoderKL"))
    module = build.make_autoencoder(config)
    frozen = {"autoencoder": diffusers.convert_autoencoder(tensors, module, "vae")}
    start = start_model(config, foreign.draw("UNet2DConditionModel"), "unet")
    mesh = runs.make_mesh(1, 8)
    state, metrics = runs.run_steps(config, mesh, 2, frozen, start)
    assert int(state.step) == 2
    runs.assert_same(state.frozen, frozen)
    # Adam's first two steps move a weight by at most twice the learning rate.
    runs.assert_close(state.params, start, atol=2.1 * config.optim.lr)
    assert all(np.isfinite(value) for m in metrics for value in m.values())
    kernel = state.params["unet"]["stable"]["conv_in_known"]["kernel"]
    assert np.abs(kernel).max() > 0  # it started at zero


@pytest.mark.parametrize(
    ("experiment", "num_chips"),
    [(celebahq256, 64), (ffhq512, 64), (smoke_full_scale, 8)],
)
def test_every_leaf_is_laid_out_and_none_over_1_mb_is_replicated(experiment, num_chips):
    config = ml_collections.FrozenConfigDict(experiment.get_config())
    assert config.mesh.fsdp in (num_chips, 1)
    frozen = {"autoencoder": _autoencoder_shapes(config)}
    state = jax.eval_shape(
        lambda key, frozen: steps.make_task(config, frozen).init(key),
        jax.random.key(0),
        frozen,
    )
    mesh = jax.sharding.AbstractMesh((1, num_chips), sharding.AXES)
    shardings = sharding.tree_shardings(state, mesh, config.sharding_rules)

    def check(leaf, where):
        size = leaf.size * leaf.dtype.itemsize
        assert size <= 2**20 or "fsdp" in where.spec

    jax.tree.map(check, state, shardings)


def _autoencoder_shapes(config):
    size = config.data.image_size
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    module = build.make_autoencoder(config)
    return jax.eval_shape(module.init, jax.random.key(0), image)["params"]


def test_eps_needs_a_schedule_that_leaves_some_signal():
    config = smoke_full_scale.get_config()
    assert config.model.prediction == "eps"
    config.model.schedule = "cosine"
    with pytest.raises(ValueError, match="no x0 at the start of the cosine"):
        build.noise_schedule(config)


@pytest.mark.parametrize(
    ("group", "make"),
    [("autoencoder", build.make_autoencoder), ("model", build.make_model)],
)
def test_unknown_kinds_are_errors(group, make):
    config = smoke_full_scale.get_config()
    config[group].kind = "sdxl"
    with pytest.raises(ValueError, match=f"{group}.kind is 'sdxl'"):
        make(config)
