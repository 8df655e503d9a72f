"""`id2face benchmark`: the smoke test end to end, and what it refuses."""

import json
import math
import sys
import time

import jax
import numpy as np
import pytest

from id2face_jax import cli
from id2face_jax.anonymize.pipeline import generator
from id2face_jax.benchmark import machine, run, sampler, training
from id2face_jax.data import pipeline
from id2face_jax.generation import exports
from id2face_jax.plan import flops
from id2face_jax.training import sharding, steps
from tests import draws, runs

COUNTS = {"parameters": 2, "unet_parameters": 1}


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    config = runs.tiny_config("id2face")
    config.model.update(runs.ONE_LEVEL)
    state = jax.eval_shape(steps.make_task(config).init, jax.random.key(0))
    shapes = {"model": state.params, "autoencoder": state.frozen["autoencoder"]}
    weights = jax.device_get(draws.random_like(shapes, scale=0.2))
    folder = tmp_path_factory.mktemp("benchmark") / "export"
    return exports.save_export(folder, config, weights)


@pytest.fixture(scope="module")
def model(export):
    return sampler.Model(*exports.load_weights(export))


@pytest.fixture(scope="module", autouse=True)
def no_cache_of_the_users():
    """Programs go where those of all tests go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator, "use_compilation_cache", lambda: None)
        yield


@pytest.fixture(scope="module")
def result(export, tmp_path_factory):
    """What `--quick` writes of the sections that need no other process."""
    out = tmp_path_factory.mktemp("out")
    argv = ["benchmark", "--quick", "--checkpoint", str(export), "--out", str(out)]
    assert cli.main([*argv, "--only", "sampler,training"]) == 0
    assert (out / "benchmark.md").read_text().startswith("# Benchmark")
    return json.loads((out / "benchmark.json").read_text())


def test_the_result_says_what_was_measured_on_what(result):
    assert set(result) == {
        *("schema_version", "quick", "date", "conditions", "model", "machine"),
        *("sampler", "training", "bars"),
    }
    assert result["schema_version"] == run.SCHEMA_VERSION and result["quick"]
    conditions = result["conditions"]
    assert conditions["cores"] >= 1 and "jax" in conditions["versions"]
    assert conditions["torch_threads"] is None
    assert len(result["bars"]) == 13


def test_the_ceiling_is_the_best_library(result):
    for kind in ("product", "convolution"):
        rates = result["machine"][kind]["gflops"]
        assert min(rates.values()) > 0
        assert result["machine"][kind]["ceiling"] == max(rates.values())


def test_the_samplers_rows_agree_with_themselves(result, model):
    ceiling = result["machine"]["product"]["ceiling"]
    rows = result["sampler"]["rows"]
    assert [(row["batch"], row["steps"]) for row in rows] == [(1, 2), (2, 2)]
    for row in rows:
        seconds = row["seconds"]["median"]
        assert row["faces_per_s"] == pytest.approx(row["batch"] / seconds)
        done = row["gflop_per_face"] * row["batch"]
        assert row["gflops"] == pytest.approx(done / seconds)
        assert row["share_of_ceiling"] == pytest.approx(row["gflops"] / ceiling)
    leaves = jax.tree.leaves(model.weights)
    assert result["sampler"]["parameters"] == sum(np.size(leaf) for leaf in leaves)


def test_training_is_counted_in_examples(result):
    found = result["training"]
    assert found["examples"] == 4 and found["records"] == "synthetic"
    rate = found["examples"] / found["seconds"]["median"]
    assert found["examples_per_s"] == pytest.approx(rate)
    assert 0 <= found["wait_share"] < 1 and found["gflop_per_step"] > 0


def test_operations_grow_by_the_same_with_every_step(model):
    counts = [sampler.count_flops(model, steps) for steps in (1, 2, 3)]
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0


def test_a_slow_reader_shows_as_waiting(model, monkeypatch):
    config = training.make_config(model, 2, None)
    batch = pipeline.first_batch(config, 2)
    rows = sharding.batch_sharding(runs.make_mesh(1, 1))

    def step(state, batch):
        time.sleep(0.01)
        return state, {}

    def slow_reader(*args):
        while True:
            time.sleep(0.2)
            yield batch

    monkeypatch.setattr(pipeline, "make_train_iterator", slow_reader)
    found = training.measure(training.Run(step, None, batch, rows, 1), config, 3, 1.0)
    assert found["wait_share"] > 0.5


def test_convolutions_are_counted_as_the_plan_counts_them():
    maps, kernel = machine.make_maps(3)
    counted = flops.of_function(machine.convolve, maps, kernel)
    assert counted == machine.convolution_flops(3)
    assert math.isclose(counted, 2 * 8 * 9 * 9 * 256 * 256)


def _without(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("missing", ["torch", "diffusers"])
def test_a_comparison_without_pytorch_says_what_to_do(monkeypatch, capsys, missing):
    _without(monkeypatch, "diffusers")
    _without(monkeypatch, missing)
    monkeypatch.setattr(exports, "load_weights", None)  # it must not get that far
    assert cli.main(["benchmark", "--compare", "diffusers"]) == 1
    shown = capsys.readouterr().err
    assert "needs " in shown and "make parity" in shown


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--only", "sampler,dance"], "--only names 'dance'"),
        (["--num-photos", "10"], "--num-photos is 10"),
        (["--only", "comparison"], "needs --compare diffusers"),
    ],
)
def test_wrong_choices_are_errors(capsys, arguments, message):
    assert cli.main(["benchmark", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_what_was_measured_is_kept_if_a_later_section_fails(
    export, monkeypatch, capsys, tmp_path
):
    def fail(*args):
        raise ValueError("no such luck")

    monkeypatch.setattr(sampler, "measure", lambda *args: {"rows": []} | COUNTS)
    monkeypatch.setattr(training, "make_run", fail)
    argv = ["benchmark", "--quick", "--checkpoint", str(export), "--out", str(tmp_path)]
    assert cli.main([*argv, "--only", "sampler,training"]) == 1
    assert "no such luck" in capsys.readouterr().err
    kept = json.loads((tmp_path / "benchmark.json").read_text())
    assert kept["sampler"]["rows"] == [] and "training" not in kept


def test_comparing_is_with_diffusers_alone():
    with pytest.raises(SystemExit, match="2"):
        cli.main(["benchmark", "--compare", "tensorflow"])
