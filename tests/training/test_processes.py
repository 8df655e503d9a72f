"""Real processes: what one computes, two do; signals, kills and damage lose little.

Every test here starts `id2face train` as users do.
"""

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from id2face_jax.commands import train as command
from id2face_jax.generation import exports
from id2face_jax.training import runtime
from tests import runs

ROOT = pathlib.Path(__file__).resolve().parents[2]
# L1 is left out where numbers are compared across devices, see test_sharding.
TINY = [
    "--config",
    str(ROOT / "configs" / "smoke.py"),
    "--config.task=autoencoder",
    "--config.autoencoder.l1_weight=0.0",
]
TIMEOUT = 600  # seconds; a few suffice on an idle machine


def train_command(workdir, *overrides) -> list[str]:
    program = [sys.executable, "-m", "id2face_jax.cli", "train", *TINY]
    return [*program, "--workdir", str(workdir), *overrides]


def run(command, num_devices=1, **variables) -> subprocess.CompletedProcess:
    return subprocess.run(
        command,
        env=runs.environment(num_devices) | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def assert_nothing_of_libraries(told: str) -> None:
    """No traceback, no log line with a level and a file, no warning of Python."""
    for noise in ("Traceback", "ERROR:", "WARNING:", "Warning:", ".cc:", "Exception"):
        assert noise not in told, told


def run_two(workdir, *overrides) -> subprocess.CompletedProcess:
    """Two processes of two devices, by launch/local.sh."""
    local = [str(ROOT / "launch" / "local.sh"), *TINY, "--workdir", str(workdir)]
    return run([*local, *overrides], 2, PROCESSES="2", DEVICES="2")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The workdir of six steps of one process on one device; not to be written to."""
    workdir = tmp_path_factory.mktemp("runs") / "one"
    done = run(train_command(workdir))
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same of two processes of two devices each, a mesh of 2 x 2."""
    workdir = tmp_path_factory.mktemp("runs") / "two"
    done = run_two(workdir, "--config.mesh.fsdp=2")
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.slow
def test_two_processes_compute_what_one_does(two, tmp_path):
    same = run(train_command(tmp_path / "one", "--config.mesh.fsdp=2"), num_devices=4)
    assert same.returncode == 0, same.stderr
    (_, one_weights, step), (_, two_weights, _) = (
        exports.load_run(workdir) for workdir in (tmp_path / "one", two)
    )
    assert step == 6
    # Sums over devices run in another order.
    runs.assert_close(one_weights, two_weights, 1e-5)
    start = json.loads((two / "starts.jsonl").read_text())
    assert (start["processes"], start["devices"][:1]) == (2, "4")
    # One process writes: each step stands once.
    lines = (two / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(x)["step"] for x in lines if '"loss"' in x]
    assert steps == sorted(set(steps))


LONG = ["--config.train.num_steps=400", "--config.train.save_every=1000"]
LONG += ["--config.train.sample_every=1000"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The workdir of a long run that nobody stopped."""
    workdir = tmp_path_factory.mktemp("runs") / "straight"
    done = run(train_command(workdir, *LONG))
    assert done.returncode == 0, done.stderr
    return workdir


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_saves_and_the_same_command_goes_on(straight, tmp_path, number):
    stopped = tmp_path / "stopped"
    process, log = start(train_command(stopped, *LONG)), stopped / "metrics.jsonl"
    wait_for(lambda: log.exists() and log.stat().st_size, process)
    process.send_signal(number)
    _, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode == command.PREEMPTED, told
    step = exports.load_run(stopped)[2]
    assert told.splitlines()[-1] == (
        f"stopped: saved step {step}; the same command goes on from there"
    )
    assert_nothing_of_libraries(told)
    assert 0 < step < 400  # off schedule

    resumed = run(train_command(stopped, *LONG))
    assert resumed.returncode == 0, resumed.stderr
    assert f"from step {step} to 400" in resumed.stderr
    runs.assert_same(exports.load_run(stopped)[1:], exports.load_run(straight)[1:])


@pytest.mark.slow
def test_a_stop_while_a_resumed_run_compiles_is_not_lost(tmp_path):
    first = run(train_command(tmp_path, "--config.train.num_steps=3"))
    assert first.returncode == 0, first.stderr
    process = start(train_command(tmp_path, *LONG))
    line = ""
    while not line.startswith("compiling"):
        line = process.stderr.readline()
        assert line, "it ended before it compiled"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=TIMEOUT)
    assert process.returncode == command.PREEMPTED, told
    assert 3 <= exports.load_run(tmp_path)[2] < 10


def start(command, num_devices=1) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        env=runs.environment(num_devices),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(claim, *processes, seconds=TIMEOUT):
    """Waits until claim() is true while the processes live; looks every millisecond."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        for process in processes:
            assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)


def whole_steps(workdir) -> list[int]:
    folder = workdir / "checkpoints"
    return sorted(int(x.name) for x in folder.glob("*") if x.name.isdigit())


def half_saved(workdir) -> list[pathlib.Path]:
    return list((workdir / "checkpoints").glob("*orbax-checkpoint-tmp*"))


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_save_loses_that_save_alone(tmp_path):
    overrides = ["--config.train.num_steps=100000", "--config.train.save_every=20"]
    overrides += ["--config.train.sample_every=100000"]
    for _ in range(5):  # a save may be over before the kill arrives
        process = start(train_command(tmp_path, *overrides))
        wait_for(lambda: whole_steps(tmp_path), process)
        wait_for(lambda: half_saved(tmp_path), process)
        process.kill()
        process.wait()
        process.stderr.close()
        if half_saved(tmp_path):
            break
    assert half_saved(tmp_path)
    step = exports.load_run(tmp_path)[2]  # whole, though the newest is not
    assert step == whole_steps(tmp_path)[-1]

    overrides[0] = f"--config.train.num_steps={step + 1}"
    again = run(train_command(tmp_path, *overrides))
    assert again.returncode == 0, again.stderr
    assert f"from step {step} to {step + 1}" in again.stderr
    assert not half_saved(tmp_path)


@pytest.mark.slow
def test_a_full_disk_is_the_last_line(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no permission to mount a small disk: a full one was not tried")
    try:
        done = run(train_command(tmp_path / "run"))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"id2face train: the disk of {tmp_path / 'run'} is full;")
    assert_nothing_of_libraries(done.stderr)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_used_on_demand(
    one, tmp_path
):
    damaged = shutil.copytree(one, tmp_path / "run")
    assert whole_steps(damaged) == [3, 6]
    for file in (damaged / "checkpoints" / "6" / "state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    told = run(train_command(damaged))
    assert told.returncode == 1
    (line,) = [x for x in told.stderr.splitlines() if x.startswith("id2face train:")]
    assert "checkpoints/6 cannot be read, it is damaged" in line
    assert "--fall-back" in line and whole_steps(damaged) == [3, 6]

    mended = run(train_command(damaged, "--fall-back"))
    assert mended.returncode == 0, mended.stderr
    assert "from step 3 to 6" in mended.stderr
    assert whole_steps(damaged) == [3, 6]
    (aside,) = (damaged / "damaged").iterdir()
    assert aside.name.startswith("6-")


@pytest.mark.slow
def test_a_run_goes_on_with_other_processes_and_another_mesh(one, two, tmp_path):
    """Two processes of two devices for three steps, then one process of one device."""
    moved = shutil.copytree(two, tmp_path / "moved")
    shutil.rmtree(moved / "checkpoints" / "6")
    resumed = run(train_command(moved))
    assert resumed.returncode == 0, resumed.stderr
    assert "from step 3 to 6" in resumed.stderr
    # The same batches in the same order, or the losses would differ in the first
    # digits; sums over devices run in another order.
    runs.assert_close(exports.load_run(moved)[1], exports.load_run(one)[1], 1e-5)
    losses = [
        [json.loads(x)["loss"] for x in lines.splitlines() if '"loss"' in x]
        for lines in ((x / "metrics.jsonl").read_text() for x in (one, moved))
    ]
    runs.assert_close(losses[0], losses[1], 1e-5)


# A mesh that takes the devices of two processes in turns, as one of a pod may.
IN_TURNS = """
import sys
import jax
import numpy as np
from id2face_jax.training import runtime, sharding
runtime.start(sys.argv[1])
one, two, three, four = jax.devices()
assert [d.process_index for d in (one, two, three, four)] == [0, 0, 1, 1]
devices = np.array([one, three, two, four]).reshape(2, 2)
where = sharding.batch_sharding(jax.sharding.Mesh(devices, sharding.AXES))
rows = sharding.local_rows(where, 8)
first = 2 * jax.process_index()
assert rows.tolist() == [first, first + 1, first + 4, first + 5], rows
batch = sharding.put_batch({"x": rows}, where)["x"]
assert batch.shape == (8,)
for shard in batch.addressable_shards:
    np.testing.assert_array_equal(shard.data, np.arange(8)[shard.index])
"""


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.slow
def test_each_process_reads_the_rows_that_its_devices_hold():
    address = free_address()
    pair = [
        start([sys.executable, "-c", IN_TURNS, f"{i}/2@{address}"], 2) for i in range(2)
    ]
    told = [process.communicate(timeout=TIMEOUT)[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], told


PATIENCE = 10  # seconds


@pytest.mark.slow
def test_a_dead_or_silent_process_ends_the_others_in_time(tmp_path):
    """Two runs at once, for most of it is waiting."""
    pairs = {}
    for how in (signal.SIGKILL, signal.SIGSTOP):
        address, workdir = free_address(), tmp_path / how.name
        overrides = ["--config.train.num_steps=1000000", f"--patience={PATIENCE}"]
        overrides += ["--config.train.sample_every=1000000"]
        where = [["--distributed", f"{i}/2@{address}"] for i in range(2)]
        pairs[how] = [start(train_command(workdir, *overrides, *x)) for x in where]
    everyone = [process for pair in pairs.values() for process in pair]
    try:
        for how in pairs:
            saved = tmp_path / how.name / "checkpoints" / "3"
            wait_for(saved.exists, *everyone)
        for how, pair in pairs.items():
            pair[1].send_signal(how)
        began = time.monotonic()
        for pair in pairs.values():
            _, told = pair[0].communicate(timeout=TIMEOUT)
            # Twice: the coordinator waits so long for a sign of life, and then tells.
            assert time.monotonic() - began < 2 * PATIENCE + 10
            assert pair[0].returncode not in (0, command.PREEMPTED), told
    finally:
        for process in everyone:
            process.kill()
            process.wait()
            process.stderr.close()


@pytest.mark.parametrize("how", ["many", "0/2", "1@localhost:9"])
def test_an_unknown_way_to_join_is_refused(how):
    with pytest.raises(ValueError, match="use none, auto, or I/N@HOST:PORT"):
        runtime.start(how)
