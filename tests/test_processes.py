"""Real processes: two compute what one does, and SIGTERM saves and resumes.

Every test here starts `id2face train` as users do.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from id2face_jax import checkpoint, processes
from id2face_jax.commands import train as command
from tests import runs

ROOT = pathlib.Path(__file__).resolve().parents[1]
# L1 is left out where numbers are compared across devices, see test_sharding.
TINY = [
    "--config",
    str(ROOT / "configs" / "smoke.py"),
    "--config.task=autoencoder",
    "--config.autoencoder.l1_weight=0.0",
]
TIMEOUT = 240  # seconds; a few suffice on an idle machine


def environment(num_devices: int) -> dict[str, str]:
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(num_devices),
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "PYTHON": sys.executable,
    }


def train_command(workdir, *overrides) -> list[str]:
    program = [sys.executable, "-m", "id2face_jax.cli", "train", *TINY]
    return [*program, "--workdir", str(workdir), *overrides]


def run(command, num_devices=1) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        env=environment(num_devices),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path):
    mesh = ["--config.mesh.data=2", "--config.mesh.fsdp=2"]
    one = run(train_command(tmp_path / "one", *mesh), num_devices=4)
    assert one.returncode == 0, one.stderr
    local = [str(ROOT / "launch" / "local.sh"), *TINY, *mesh]
    two = subprocess.run(
        [*local, "--workdir", str(tmp_path / "two")],
        env=environment(2) | {"PROCESSES": "2", "DEVICES": "2"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert two.returncode == 0, two.stderr
    (_, one_weights, step), (_, two_weights, _) = (
        checkpoint.load_run(tmp_path / name) for name in ("one", "two")
    )
    assert step == 6
    # Sums over devices run in another order.
    runs.assert_close(one_weights, two_weights, 1e-5)
    start = json.loads((tmp_path / "two" / "starts.jsonl").read_text())
    assert (start["processes"], start["devices"][:1]) == (2, "4")
    # One process writes: each step stands once.
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(x)["step"] for x in lines if '"loss"' in x]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(tmp_path):
    overrides = ["--config.train.num_steps=400", "--config.train.save_every=1000"]
    overrides += ["--config.train.sample_every=1000"]
    straight = run(train_command(tmp_path / "straight", *overrides))
    assert straight.returncode == 0, straight.stderr

    stopped = tmp_path / "stopped"
    process = subprocess.Popen(
        train_command(stopped, *overrides),
        env=environment(1),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    log, deadline = stopped / "metrics.jsonl", time.monotonic() + TIMEOUT
    while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode == command.PREEMPTED, told
    assert "SIGTERM: saved step" in told
    step = checkpoint.load_run(stopped)[2]
    assert 0 < step < 400  # off schedule

    resumed = run(train_command(stopped, *overrides))
    assert resumed.returncode == 0, resumed.stderr
    assert f"from step {step} to 400" in resumed.stderr
    runs.assert_same(
        checkpoint.load_run(stopped)[1:], checkpoint.load_run(tmp_path / "straight")[1:]
    )


def test_a_config_works_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = command.load_config(
        str(ROOT / "configs" / "smoke.py"),
        ["--config.optim.lr=0.5", "--config.model.unet_dims=(8,16)"],
    )
    assert (config.optim.lr, config.model.unet_dims) == (0.5, (8, 16))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.optim.lrr=1.0", "lr"),
        ("--config.optim.lr=fast", "fast"),
        ("--learning-rate=1.0", "Unknown command line flag 'learning-rate'"),
        ("extra", "extra: expected --config.key=value"),
    ],
)
def test_a_wrong_override_is_refused(override, message):
    with pytest.raises(ValueError, match=message):
        command.load_config(str(ROOT / "configs" / "smoke.py"), [override])


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.py does not exist"):
        command.load_config(str(tmp_path / "none.py"))


@pytest.mark.parametrize("how", ["many", "0/2", "1@localhost:9"])
def test_an_unknown_way_to_join_is_refused(how):
    with pytest.raises(ValueError, match="use none, auto, or I/N@HOST:PORT"):
        processes.start(how)
