"""Checkpoints and exports: what goes in comes out, and what does not fit is told."""

import json

import jax
import ml_collections
import numpy as np
import pytest

import id2face_jax
from id2face_jax.data import pipeline
from id2face_jax.generation import exports
from id2face_jax.training import checkpoint, programs
from tests import runs


@pytest.fixture(scope="module")
def config():
    return ml_collections.FrozenConfigDict(runs.tiny_config())


@pytest.fixture(scope="module")
def layout(config):
    return programs.make_layout(config, runs.make_mesh(4, 2))


@pytest.fixture(scope="module")
def state(layout):
    """A state with numbers of its own in every leaf."""
    leaves, treedef = jax.tree.flatten(layout.state)
    filled = [
        jax.device_put(np.full(x.shape, i, x.dtype), x.sharding)
        for i, x in enumerate(leaves)
    ]
    return treedef.unflatten(filled)


def advanced(config, num):
    iterator = pipeline.make_train_iterator(config)
    for _ in range(num):
        next(iterator)
    return iterator


@pytest.fixture(scope="module")
def workdir(config, state, tmp_path_factory):
    """A run with checkpoints of steps 4 and 7; three were saved, two are kept."""
    folder = tmp_path_factory.mktemp("run")
    saver = checkpoint.Checkpointer(folder, save_every=4, keep=2)
    for step in (2, 4, 7):
        saver.save(step, state, advanced(config, step), config)
    saver.close()
    return folder


WEIGHTS = {
    "model": {"dense": {"kernel": np.linspace(-3, 3, 12, dtype=np.float32)}},
    "autoencoder": {"bias": np.float32([0.1, 1e-3])},
}


def test_a_restored_run_is_the_saved_one(config, layout, state, workdir):
    saver = checkpoint.Checkpointer(workdir, save_every=4, keep=2)
    assert saver.latest_step() == 7
    iterator = pipeline.make_train_iterator(config)
    restored = saver.restore(layout.state, iterator, config)
    saver.close()
    runs.assert_same(restored, state)
    where = [jax.tree.map(lambda x: x.sharding, tree) for tree in (restored, state)]
    assert where[0] == where[1]
    runs.assert_same(next(iterator), next(advanced(config, 7)))


def test_a_run_restores_on_another_mesh_and_for_another_number_of_hosts(
    config, state, workdir
):
    other = programs.make_layout(config, runs.make_mesh(1, 2))
    saver = checkpoint.Checkpointer(workdir, save_every=4, keep=2)
    rows = np.split(np.arange(config.data.batch_size), 2)
    iterators = [pipeline.make_train_iterator(config, part) for part in rows]
    restored = [saver.restore(other.state, it, config) for it in iterators]
    saver.close()
    runs.assert_same(restored[1], state)
    halves = [next(it) for it in iterators]
    whole = next(advanced(config, 7))
    runs.assert_same(jax.tree.map(lambda *x: np.concatenate(x), *halves), whole)


def test_steps_are_due_by_interval_and_old_ones_go(config, workdir):
    saver = checkpoint.Checkpointer(workdir, save_every=4, keep=2)
    assert [step for step in range(5, 17) if saver.is_due(step)] == [8, 12, 16]
    saver.close()
    assert {p.name for p in (workdir / "checkpoints").iterdir()} == {"4", "7"}


def test_another_network_is_refused_with_its_fields(config, layout, workdir):
    other = runs.tiny_config(autoencoder__dims=(8, 32), optim__lr=1.0)
    saver = checkpoint.Checkpointer(workdir, save_every=4, keep=2)
    with pytest.raises(ValueError) as error:
        saver.restore(layout.state, advanced(config, 0), other)
    saver.close()
    assert "autoencoder.dims is (8, 16) there and (8, 32) here" in str(error.value)
    assert "optim" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "here"),
    [
        ("seed", 1),
        ("data.records", "elsewhere"),
        ("data.split", "validation"),
        ("data.batch_size", 16),
        ("data.pair_prob", 0.5),
        ("data.max_photos_per_person", 3),
    ],
)
def test_other_data_is_refused_with_what_differs(config, layout, workdir, field, here):
    there = config.to_dict()
    for part in field.split("."):
        there = there[part]
    other = runs.tiny_config(**{field.replace(".", "__"): here})
    saver = checkpoint.Checkpointer(workdir, save_every=4, keep=2)
    with pytest.raises(ValueError) as error:
        saver.restore(layout.state, advanced(config, 0), other)
    saver.close()
    assert str(error.value).count(" there and ") == 1
    assert f"{field} is {there!r} there and {here!r} here" in str(error.value)


def test_a_run_loads_as_its_averaged_weights(config, state, workdir):
    found, weights, step = exports.load_run(workdir)
    assert (found, step) == (config, 7)
    runs.assert_same(weights, {"autoencoder": state.ema})
    assert exports.load_run(workdir, 4)[2] == 4
    assert isinstance(jax.tree.leaves(weights)[0], np.ndarray)


def test_a_step_that_is_not_there_is_named_with_those_that_are(workdir):
    with pytest.raises(ValueError, match="no checkpoint of step 5; steps there: 4, 7"):
        exports.load_run(workdir, 5)


def test_an_empty_folder_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="steps there: none. Train with"):
        exports.load_run(tmp_path)


# A bfloat16 has 8 bits of precision, a float16 11.
@pytest.mark.parametrize(
    ("dtype", "rtol"), [("float32", 0), ("bfloat16", 2**-8), ("float16", 2**-11)]
)
def test_an_export_comes_back_as_float32(config, tmp_path, dtype, rtol):
    out = exports.save_export(tmp_path / "a" / "export", config, WEIGHTS, dtype)
    found, weights = exports.load_export(out)
    assert found == config
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol), weights, WEIGHTS
    )
    assert {x.dtype for x in jax.tree.leaves(weights)} == {np.dtype(np.float32)}
    # Nothing else is left beside it.
    assert [p.name for p in out.parent.iterdir()] == ["export"]
    for path in out.rglob("*"):  # an export travels, and tells nothing of its maker
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes(), path


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_export_carries_its_version_and_its_hash(config, tmp_path, dtype):
    out = exports.save_export(tmp_path / "export", config, WEIGHTS, dtype)
    card = json.loads((out / exports.CARD).read_text())
    weights = exports.load_export(out)[1]
    assert card == exports.make_card(weights)
    assert card["version"] == id2face_jax.__version__
    leaf = jax.tree.leaves(weights)[0]
    leaf.flat[0] += 1.0
    assert card["weights_sha256"] != exports.make_card(weights)["weights_sha256"]


def test_the_shipped_weights_are_those_of_their_card():
    card = json.loads((exports.PRETRAINED / exports.CARD).read_text())
    shipped = exports.make_card(exports.load_export()[1])
    assert card["weights_sha256"] == shipped["weights_sha256"]
    assert (exports.PRETRAINED / "LICENSE").is_file()


def test_float16_refuses_what_it_cannot_hold(config, tmp_path):
    with pytest.raises(ValueError, match="not all finite in float16"):
        exports.save_export(
            tmp_path / "x", config, {"model": np.float32([1e6])}, "float16"
        )
    assert not list(tmp_path.iterdir())


def test_an_export_never_overwrites(config, tmp_path):
    with pytest.raises(ValueError, match="exists; remove it"):
        exports.save_export(tmp_path, config, WEIGHTS)


def test_a_failed_export_leaves_nothing(config, tmp_path, monkeypatch):
    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(exports, "to_json", fail)
    with pytest.raises(OSError, match="disk full"):
        exports.save_export(tmp_path / "x", config, WEIGHTS)
    assert not list(tmp_path.iterdir())


def test_a_run_is_told_from_an_export(workdir, tmp_path):
    with pytest.raises(ValueError, match="workdir of a training run.*id2face export"):
        exports.load_export(workdir)
    with pytest.raises(ValueError, match="is not an export: config.json and weights/"):
        exports.load_export(tmp_path)


def test_weights_load_from_either(config, state, workdir, tmp_path):
    out = exports.save_export(tmp_path / "export", config, WEIGHTS)
    runs.assert_same(exports.load_weights(out)[1], WEIGHTS)
    runs.assert_same(exports.load_weights(workdir, 4)[1], {"autoencoder": state.ema})
    with pytest.raises(ValueError, match="step is 4 and .* is no training run"):
        exports.load_weights(out, 4)


@pytest.mark.parametrize("task", ["autoencoder", "id2face"])
def test_configs_survive_json(task):
    config = ml_collections.FrozenConfigDict(runs.tiny_config(task))
    assert exports.from_json(exports.to_json(config)) == config
