"""The launch scripts, against stubs of the clusters' commands.

A stub appends its arguments to calls.txt and does what its test says.
"""

import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest
import ruamel.yaml

LAUNCH = pathlib.Path(__file__).resolve().parent.parent / "launch"
OVERRIDES = ["--config.seed=4", "--config.data.records=/data/a b"]
RUN = {"CONFIG": "configs/smoke.py", "WORKDIR": "/runs/a b"}
VARIABLES = {
    "slurm.sbatch": RUN,
    "tpu_vm.sh": RUN
    | {"PROJECT": "p", "ZONE": "z", "NAME": "slice", "TYPE": "v5p-128"}
    | {"POLL_SECONDS": "0"},
    "gke.sh": RUN
    | {"NAME": "faces", "IMAGE": "image:1", "CLAIM": "runs", "HOSTS": "16"}
    | {"ACCELERATOR": "tpu-v5p-slice", "TOPOLOGY": "4x4x4", "CHIPS_PER_HOST": "4"},
}
REQUIRED = [
    (script, name)
    for script, variables in VARIABLES.items()
    for name in variables
    if name != "POLL_SECONDS"
]
# What every script must end in.
TRAIN = ["-m", "id2face_jax.cli", "train", "--distributed", "auto"]
TRAIN += ["--config", RUN["CONFIG"], "--workdir", RUN["WORKDIR"], *OVERRIDES]


def read_yaml(text: str) -> dict:
    return ruamel.yaml.YAML(typ="safe").load(text)


class Cluster:
    """A folder of stub commands, in front of PATH."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.calls_file = folder / "calls.txt"

    def stub(self, name: str, body: str = "") -> None:
        """A command that records its call and runs `body`, a piece of bash."""
        path = self.folder / name
        # One printf is one write, so that calls at the same time do not mix.
        record = f"printf '%s\\x1f' {name} \"$@\" $'\\x1e' >> '{self.calls_file}'"
        path.write_text(f'#!/usr/bin/env bash\ncd "{self.folder}"\n{record}\n{body}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        """Arguments of each call, in order."""
        if not self.calls_file.exists():
            return []
        calls = self.calls_file.read_text().split("\x1e\x1f")
        return [call.split("\x1f")[:-1] for call in calls[:-1]]

    def start(self, script: str, *args: str, **variables: str) -> subprocess.Popen:
        """The script, running, with its variables and the stubs."""
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "TMPDIR": str(self.folder),
            **VARIABLES[script],
            **variables,
        }
        return subprocess.Popen(
            ["bash", str(LAUNCH / script), *args],
            env={name: value for name, value in environment.items() if value != "-"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=LAUNCH.parent,
        )

    def run(self, script: str, *args: str, **variables: str):
        """(exit code, stdout, stderr) of the script; a variable of "-" is unset."""
        process = self.start(script, *args, **variables)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    for name in ("srun", "scontrol", "gcloud", "kubectl", "git"):
        cluster.stub(name)
    return cluster


@pytest.mark.parametrize("script, name", REQUIRED)
def test_a_missing_variable_is_named_before_anything_runs(cluster, script, name):
    code, _, err = cluster.run(script, **{name: "-"})
    assert code != 0 and f"{name}: " in err
    assert not cluster.calls


@pytest.mark.parametrize("script", VARIABLES)
def test_a_dry_run_shows_the_train_command_and_calls_nothing(cluster, script):
    code, out, err = cluster.run(script, "--dry-run", *OVERRIDES)
    assert (code, err) == (0, "")
    assert not cluster.calls
    assert "id2face_jax.cli" in out and "--config.seed=4" in out


@pytest.mark.parametrize("script", ["slurm.sbatch", "tpu_vm.sh", "gke.sh", "local.sh"])
def test_the_script_is_strict_from_its_first_command(script):
    lines = (LAUNCH / script).read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail"


# --- SLURM


def test_slurm_runs_the_train_command_on_every_task(cluster):
    code, _, err = cluster.run("slurm.sbatch", *OVERRIDES)
    assert code == 0, err
    (call,) = cluster.calls
    assert call[0] == "srun" and call[-len(TRAIN) :] == TRAIN


def test_slurm_reports_a_failure(cluster):
    cluster.stub("srun", "exit 3")
    assert cluster.run("slurm.sbatch")[0] == 3


def test_slurm_requeues_a_run_that_was_stopped_and_saved(cluster):
    cluster.stub("srun", "exit 75")
    assert cluster.run("slurm.sbatch", SLURM_JOB_ID="42")[0] == 0
    assert cluster.calls[-1] == ["scontrol", "requeue", "42"]


def test_slurm_saves_before_the_time_limit_and_waits_for_it(cluster):
    """USR1 reaches the script, TERM the tasks, and the end of saving is awaited."""
    cluster.stub(
        "srun",
        "trap 'sleep 0.5; touch saved; exit 75' TERM\n"
        "touch running\nwhile true; do sleep 0.1; done",
    )
    process = cluster.start("slurm.sbatch", SLURM_JOB_ID="42")
    deadline = time.monotonic() + 20
    while not (cluster.folder / "running").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert (cluster.folder / "saved").exists()
    assert cluster.calls[-1] == ["scontrol", "requeue", "42"]


# --- Cloud TPU


def _gcloud(states: list[str], trains: list[int]) -> str:
    """A body: `describe` answers with each state in turn, training with each code."""
    return f"""
next() {{ local first; first="$(head -1 "$1")"; sed -i 1d "$1"; echo "$first"; }}
[[ -e states ]] || printf '%s\\n' {" ".join(states)} > states
[[ -e trains ]] || printf '%s\\n' {" ".join(map(str, trains))} > trains
case "$*" in
    *describe*) next states | grep -v NONE ;;
    *id2face_jax.cli*) exit "$(next trains)" ;;
esac
"""


def _steps(cluster) -> list[str]:
    """What gcloud was asked for, without the questions about the state."""
    names = {"create", "delete", "scp"}
    steps = []
    for call in cluster.calls:
        if "ssh" in call:
            steps.append("train" if "id2face_jax.cli" in call[-1] else "install")
        steps += [word for word in call if word in names]
    return steps


def test_tpu_asks_waits_installs_and_trains_on_all_workers(cluster):
    cluster.stub("gcloud", _gcloud(["NONE", "WAITING_FOR_RESOURCES", "ACTIVE"], [0]))
    code, _, err = cluster.run("tpu_vm.sh", *OVERRIDES)
    assert code == 0, err
    assert _steps(cluster) == ["create", "scp", "install", "train"]
    train = cluster.calls[-1]
    assert "--worker=all" in train
    assert shlex.split(train[-1])[-len(TRAIN) :] == TRAIN
    create = next(call for call in cluster.calls if "create" in call)
    assert "--spot" in create and create[create.index("--project") + 1] == "p"


def test_tpu_takes_a_slice_that_is_there_already(cluster):
    cluster.stub("gcloud", _gcloud(["ACTIVE"], [0]))
    assert cluster.run("tpu_vm.sh")[0] == 0
    assert _steps(cluster) == ["scp", "install", "train"]


def test_tpu_starts_again_on_a_new_slice_when_the_old_is_taken(cluster):
    states = ["ACTIVE", "SUSPENDED", "SUSPENDED", "NONE", "ACTIVE"]
    cluster.stub("gcloud", _gcloud(states, [255, 0]))
    code, _, err = cluster.run("tpu_vm.sh")
    assert code == 0, err
    one_run = ["scp", "install", "train"]
    assert _steps(cluster) == [*one_run, "delete", "create", *one_run]


def test_tpu_goes_on_after_a_run_that_was_stopped_and_saved(cluster):
    cluster.stub("gcloud", _gcloud(["ACTIVE"] * 3, [75, 0]))
    assert cluster.run("tpu_vm.sh")[0] == 0
    assert _steps(cluster).count("train") == 2


def test_tpu_does_not_repeat_a_mistake(cluster):
    cluster.stub("gcloud", _gcloud(["ACTIVE"] * 3, [1]))
    code, _, err = cluster.run("tpu_vm.sh")
    assert code == 1 and "failed with 1 on a slice that is up" in err
    assert _steps(cluster).count("train") == 1


def test_tpu_without_spot_asks_for_a_slice_that_stays(cluster):
    _, out, _ = cluster.run("tpu_vm.sh", "--dry-run", SPOT="")
    assert "--spot" not in out and " '' " not in out


# --- GKE


def test_gke_applies_one_pod_a_host_with_the_train_command(cluster):
    cluster.stub("kubectl", '[[ "$1" != apply ]] || cat > manifest.yaml')
    code, _, err = cluster.run("gke.sh", *OVERRIDES)
    assert code == 0, err
    assert [call[1] for call in cluster.calls] == ["delete", "apply"]
    manifest = ruamel.yaml.YAML(typ="safe").load(
        (cluster.folder / "manifest.yaml").read_text()
    )
    assert manifest["kind"] == "JobSet" and manifest["metadata"]["name"] == "faces"
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == job["completions"] == 16
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][-len(TRAIN) :] == TRAIN
    assert container["resources"]["limits"]["google.com/tpu"] == 4
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x4x4"
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "runs"


def test_gke_quotes_what_yaml_would_read_otherwise(cluster):
    odd = "--config.data.records=/a: b\\c \"d\" 'e' #f"
    _, out, _ = cluster.run("gke.sh", "--dry-run", odd)
    manifest = read_yaml(out)
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["template"]["spec"]["containers"][0]["command"][-1] == odd


# --- this machine


def test_local_runs_as_many_processes_as_asked_for(cluster):
    cluster.stub("stub_python", '[[ "$1" != -c ]] || echo 12345')
    environment = {
        "PATH": f"{cluster.folder}:{os.environ['PATH']}",
        "PROCESSES": "3",
        "DEVICES": "2",
        "PYTHON": "stub_python",
    }
    subprocess.run(
        ["bash", LAUNCH / "local.sh", "--config", "c.py"], env=environment, check=True
    )
    ranks = [call[-1] for call in cluster.calls if "train" in call]
    assert sorted(ranks) == [f"{i}/3@127.0.0.1:12345" for i in range(3)]


@pytest.mark.parametrize("name", ["PROCESSES", "DEVICES"])
def test_local_names_a_missing_variable(cluster, name):
    environment = {"PATH": os.environ["PATH"], "PROCESSES": "2", "DEVICES": "2"}
    del environment[name]
    environment["PYTHON"] = sys.executable
    done = subprocess.run(
        ["bash", LAUNCH / "local.sh"], env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0 and f"{name}: " in done.stderr
