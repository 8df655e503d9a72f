"""Plans: names, sizes, bounds, the search, and the real compiler where it is here."""

import dataclasses
import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import lfw128, smoke, smoke_full_scale
from id2face_jax import cli
from id2face_jax.plan import chips, estimate, flops, hlo, inputs, sweep, table
from id2face_jax.training import programs, sharding
from tests import runs

GB = 1e9


def make_estimate(**changes):
    """A made-up estimate of a step on eight chips of 1 TFLOP/s each."""
    fields = {
        "program": "step",
        "topology": "v5e:2x4",
        "mesh": {"data": 2, "fsdp": 4},
        "batch": 16,
        "num_params": 3_000_000,
        "memory": {"params": 1 * GB, "activations": 2 * GB},
        "hbm_bytes": 16 * GB,
        "fits": True,
        "model_flops": 4e12,
        "flops": 5e12,
        "accessed_bytes": 3 * GB,
        "collectives": {"all-gather over fsdp": 2 * GB},
        "bounds": {"compute": 0.625, "links": 0.1, "memory": 0.3},
        "xla_seconds": 1.0,
        "peak_flops": 1e12,
        "hours": 2.0,
        "compile_seconds": 3.0,
    }
    return estimate.Estimate(**fields | changes)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("v5p:8x8x8", ("v5p", (8, 8, 8))),
        ("v5e:16x16", ("v5e", (16, 16))),
        ("h100:8", ("h100", (1, 8))),
        ("h100:2x8", ("h100", (2, 8))),
    ],
)
def test_names_of_topologies(name, parsed):
    assert chips.parse_topology(name) == parsed


@pytest.mark.parametrize("name", ["v9:2x2", "v5p", "v5p:4x", "v5p:0x4", "h100:1x2x8"])
def test_other_names_are_errors_that_say_how(name):
    with pytest.raises(ValueError, match=f"topology is '{name}'"):
        chips.parse_topology(name)


def test_the_h100_is_the_one_of_its_file():
    text = chips.H100_TARGET.read_text()
    chip = chips.CHIPS["h100"]
    size = int(text.split("device_memory_size: ")[1].split()[0])
    assert chip.hbm_bytes <= size < 1.01 * chip.hbm_bytes
    bandwidth = float(text.split("memory_bandwidth: ")[1].split()[0])
    assert chip.hbm_bandwidth == pytest.approx(bandwidth, rel=1e-3)


def test_a_config_is_fitted_to_the_chips():
    config = lfw128.get_config()
    config.mesh.fsdp = 64
    fitted = inputs.fit_config(config, 16, batch=32)
    assert (fitted.mesh.data, fitted.mesh.fsdp, fitted.data.batch_size) == (1, 16, 32)
    fitted = inputs.fit_config(config, 512)
    assert (fitted.mesh.data, fitted.mesh.fsdp) == (8, 64)
    assert config.mesh.fsdp == 64 and config.data.records != "synthetic"
    with pytest.raises(ValueError, match="--fsdp is 3, which does not divide 16"):
        inputs.fit_config(config, 16, fsdp=3)


def test_frozen_parameters_are_shapes_of_what_train_would_load():
    frozen = inputs.frozen_shapes(lfw128.get_config())
    assert set(frozen) == {"autoencoder", "recognizer"}
    leaves = jax.tree.leaves(frozen)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
    assert inputs.frozen_shapes(runs.tiny_config("autoencoder")) == {}


def test_state_bytes_fall_with_the_number_of_chips():
    def of(fsdp):
        layout = programs.make_layout(runs.tiny_config(), runs.make_mesh(1, fsdp))
        return estimate.state_bytes(layout)

    one, eight = of(1), of(8)
    assert one["params"] == one["EMA"] and one["frozen"] == 0
    assert one["optimizer"] == pytest.approx(2 * one["params"], rel=1e-2)
    # Vectors are on every chip.
    assert eight["params"] < one["params"] / 4


def test_mfu_is_useful_work_over_what_the_chips_could_do():
    one = make_estimate()
    assert one.num_chips == 8
    assert one.roofline_seconds == 0.625
    assert one.seconds == 1.0
    assert one.mfu(one.seconds) == 0.5
    assert make_estimate(xla_seconds=None).seconds == 0.625


@pytest.mark.slow
def test_recomputation_is_no_model_flop_and_the_sampler_takes_a_face_a_chip():
    config = inputs.fit_config(runs.tiny_config("id2face", train__remat="full"), 8)
    mesh = runs.make_mesh(8, 1)
    _, memory, traced = estimate._trace(config, mesh, "step")
    useful, spent = estimate._count_flops(config, mesh, "step")
    assert spent == flops.count_flops(traced.jaxpr.jaxpr)
    assert useful < spent < 4 / 3 * useful
    assert set(memory) == {"params", "optimizer", "EMA", "frozen"}
    _, memory, sampler = estimate._trace(config, mesh, "sampler")
    assert sampler.out_info.shape == (8, 32, 32, 3)
    assert set(memory) == {"EMA", "frozen"}
    calls, again = estimate._count_flops(config, mesh, "sampler")
    assert 0 < calls == again < useful


@pytest.mark.parametrize(
    ("kind", "axes", "seconds"),
    [
        ("all-gather", ("fsdp",), 0.75),
        ("reduce-scatter", ("fsdp",), 0.75),
        ("all-reduce", ("data",), 1.0),
    ],
)
def test_links_take_as_long_as_a_ring_does(kind, axes, seconds):
    chip = dataclasses.replace(chips.CHIPS["v5e"], link_bandwidth=1e9)
    one = hlo.Collective(kind, axes, (2,), 10**9, 1, "")
    assert estimate._link_seconds([one], runs.make_mesh(2, 4), chip) == seconds


def test_the_text_names_every_class_and_what_is_an_estimate():
    text = table.to_text(make_estimate())
    lines = dict(line.split("  ", 1) for line in text.splitlines() if line[0] != " ")
    assert lines["HBM a chip"].split() == "3 GB of 16 GB".split()
    assert "roofline, at best" in text and "XLA's estimate" in text
    assert "estimated MFU 50 %" in text and "2.0 hours by XLA's estimate" in text
    assert "all-gather over fsdp" in text
    assert "DOES NOT FIT" not in text


def test_the_text_says_what_a_quick_compilation_left_out():
    text = table.to_text(make_estimate(num_unknown=12, effort=-0.5))
    assert "without 12 operations that it gives no time for" in text
    assert "with effort -0.5: a slower program" in text
    whole = table.to_text(make_estimate())
    assert "without" not in whole and "effort" not in whole


def test_what_does_not_fit_says_so_and_gives_no_time():
    one = make_estimate(fits=False, bounds={}, xla_seconds=None, hours=None)
    text = table.to_text(one)
    assert "DOES NOT FIT" in text and "estimate" not in text
    assert json.loads(json.dumps(table.to_json(one)))["mfu"] is None


def test_memory_that_xla_wanted_is_read_from_its_message():
    for said in ("Used 27.5G of 15.75G hbm", "(27.50G) exceeds available HBM"):
        error = RuntimeError(f"RESOURCE_EXHAUSTED: {said}")
        assert estimate._out_of_memory(error) == 27.5 * 2**30
    assert estimate._out_of_memory(RuntimeError("INTERNAL: other")) is None


def _machine(batch, fsdp):
    """8 chips of 16 GB: a state of 40 GB, 1 GB a pair and chip; wide meshes slow."""
    if fsdp == 8:
        raise ValueError("no dimension is divisible by 8")
    memory = {"params": 40 * GB / fsdp, "activations": batch / 8 * GB}
    return make_estimate(
        batch=batch,
        mesh={"data": 8 // fsdp, "fsdp": fsdp},
        memory=memory,
        fits=sum(memory.values()) <= 16 * GB,
        xla_seconds=batch * (1 + 0.1 * fsdp),
    )


def test_the_sweep_finds_the_largest_batch_and_skips_what_cannot_be():
    best = sweep.find_best(_machine, 8, 1)
    # At fsdp 4 there are 6 GB left; at 2 not even the state fits.
    assert (best.batch, best.mesh["fsdp"], best.fits) == (32, 4, True)


def test_the_sweep_takes_a_narrower_mesh_where_it_is_quicker():
    def roomy(batch, fsdp):
        one = _machine(batch, fsdp)
        return dataclasses.replace(one, fits=batch <= 64)

    best = sweep.find_best(roomy, 8, 2)
    assert (best.batch, best.mesh["fsdp"]) == (64, 1)


def test_a_sweep_where_nothing_fits_says_so():
    def full(batch, fsdp):
        return dataclasses.replace(_machine(batch, fsdp), fits=False)

    assert not sweep.find_best(full, 8, 1).fits


@pytest.fixture
def tpu():
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("no libtpu (extra `plan`): nothing was compiled for a TPU")


def plan(capsys, *argv):
    """(exit code, estimates) of `id2face plan --json`."""
    code = cli.main(["plan", "--json", *argv])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_v4_chip_is_one_device(tpu):
    assert len(chips.make_topology("v4:2x2x1").devices) == 4


@pytest.mark.slow
def test_flops_are_counted_whole_where_a_kernel_attends(tpu):
    """The kernel's own trace holds one step of its loop, on one chip."""
    config = smoke_full_scale.get_config()
    config.data.image_size, config.train.dtype = 256, "bfloat16"  # 32 x 32 positions
    topology = chips.make_topology("v5p:2x2x1")
    config = inputs.fit_config(config, len(topology.devices), fsdp=2)
    mesh = sharding.make_mesh(config, topology.devices)
    fused = flops.count_flops(estimate._trace(config, mesh, "step")[2].jaxpr.jaxpr)
    useful, spent = estimate._count_flops(config, mesh, "step")
    assert fused < 0.9 * spent and useful == spent  # nothing is recomputed
    config.model.attention = "xla"
    assert estimate._count_flops(config, mesh, "step") == (useful, spent)


@pytest.mark.slow
def test_what_the_compiler_refuses_does_not_fit(tpu):
    topology = chips.make_topology("v5e:2x2")
    where = jax.sharding.SingleDeviceSharding(topology.devices[0])
    huge = jax.ShapeDtypeStruct((50, 2**28), np.float32, sharding=where)  # 50 GiB
    traced = jax.jit(lambda x: 2 * x).trace(huge)
    used, said = estimate._compile(traced, runs.make_mesh(1, 1), topology.chip, 0.0)
    assert used >= 50 * 2**30 > topology.chip.hbm_bytes
    assert not said["fits"]


@pytest.mark.slow
def test_less_effort_makes_no_quicker_program(tpu):
    """One convolution of the full scale and its gradients, for one chip."""
    topology = chips.make_topology("v5p:2x2x1")
    where = jax.sharding.SingleDeviceSharding(topology.devices[0])
    image, kernel = (
        jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=where)
        for shape in ((8, 16, 16, 640), (3, 3, 640, 640))
    )

    def product(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ).sum()

    traced = jax.jit(jax.grad(product, argnums=(0, 1))).trace(image, kernel)
    mesh = runs.make_mesh(1, 1)
    seconds = [
        estimate._compile(traced, mesh, topology.chip, effort)[1]["xla_seconds"]
        for effort in (0.0, -0.5)
    ]
    assert 0 < seconds[0] <= seconds[1]


def test_what_was_compiled_for_other_chips_is_not_cached(monkeypatch):
    """Reading it back would fail, with a warning, at every further plan."""
    name = "jax_persistent_cache_min_compile_time_secs"
    seen = []

    class Lowered:
        def lower(self):
            return self

        def compile(self, compiler_options):
            seen.append(getattr(jax.config, name))
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 2.0G of 1.0G")

    before = getattr(jax.config, name)
    estimate._compile(Lowered(), None, chips.CHIPS["v5e"], 0.0)
    assert seen == [math.inf] and getattr(jax.config, name) == before


def test_an_effort_that_xla_does_not_know_is_an_error():
    topology = chips.Topology("v5e:2x4", chips.CHIPS["v5e"], jax.devices())
    with pytest.raises(ValueError, match="--effort is 2.0; it goes from -1 to 0"):
        estimate.make_estimate(lfw128.get_config(), topology, effort=2.0)


@pytest.mark.slow
def test_a_small_step_compiles_for_a_tpu_that_is_not_here(tpu, capsys):
    config = [smoke.__file__, "--config.task=autoencoder", "--topology", "v5e:2x4"]
    code, (one,) = plan(capsys, "--config", *config, "--fsdp", "4")
    assert code == 0 and one["fits"]
    assert one["mesh"] == {"data": 2, "fsdp": 4}
    assert one["memory"]["activations"] > 0
    assert one["collectives"]["all-gather over fsdp"] > 0
    assert 0 < one["roofline_seconds"] < 1e-2 and one["xla_seconds"] > 0
    assert one["hours"] < 0.1 and 0 < one["mfu"] < 1


def test_a_pod_that_does_not_exist_is_an_error(tpu, capsys):
    argv = ["plan", "--config", smoke.__file__, "--topology", "v5e:3x5"]
    assert cli.main(argv) == 1
    assert "libtpu does not know v5e:3x5" in capsys.readouterr().err


def test_what_does_not_fit_is_exit_code_3(monkeypatch, capsys):
    chip = chips.CHIPS["v5e"]
    topology = chips.Topology("v5e:2x4", chip, jax.devices())
    monkeypatch.setattr(chips, "make_topology", lambda name: topology)
    given = []

    def fake(config, topology, program, batch, fsdp, effort):
        given.append((program, batch, fsdp, effort))
        return make_estimate(program=program, fits=program != "sampler")

    monkeypatch.setattr(estimate, "make_estimate", fake)
    base = ["--config", smoke.__file__, "--topology", "v5e:2x4"]
    varied = ["--batch", "8", "--fsdp", "2", "--effort", "-0.5"]
    assert plan(capsys, *base, *varied)[0] == 3
    assert given == [("step", 8, 2, -0.5), ("sampler", 8, 2, -0.5)]
    assert plan(capsys, *base, "--only", "step")[0] == 0
    code, found = plan(capsys, *base, "--config.task=autoencoder")
    assert (code, len(found)) == (0, 1)
    assert cli.main(["plan", *base, "--sweep", "--batch", "8"]) == 1

    def machine(config, topology, program, batch, fsdp, effort):
        return _machine(batch, fsdp)

    monkeypatch.setattr(estimate, "make_estimate", machine)
    code, (best,) = plan(capsys, *base, "--sweep")
    assert (code, best["batch"]) == (0, 32)


def test_gpus_compile_where_their_jax_is_installed(capsys):
    if importlib.util.find_spec("jax_cuda12_plugin") is None:
        pytest.skip("no CUDA build of jax (extra `plan-gpu`): no GPU was planned")
    argv = ["--config", smoke.__file__, "--config.task=autoencoder"]
    code, (one,) = plan(capsys, *argv, "--topology", "h100:2x8", "--batch", "16")
    assert code == 0 and one["num_chips"] == 16
    assert one["xla_seconds"] is None and one["roofline_seconds"] > 0
    assert np.isfinite(one["mfu"])
