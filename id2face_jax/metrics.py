"""What a run writes down: TensorBoard, metrics.jsonl, and where the time went.

Owns files of numbers and pictures under the workdir, and the clock. Only process 0
writes. Leaves what to measure, and when to fetch it from the device, to `train`.
"""

import contextlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import time
from collections.abc import Iterator

import jax
import numpy as np
import tensorboardX

JSONL = "metrics.jsonl"
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def _git_revision() -> str | None:
    """The commit of this source tree, "+changes" if edited; None outside git."""
    folder = pathlib.Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--dirty=+changes"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def record_start(workdir: pathlib.Path, config_json: str, step: int) -> None:
    """Writes config.json, and what started here to starts.jsonl, one line a start."""
    (workdir / "config.json").write_text(config_json + "\n")
    start = {
        "step": step,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": _git_revision(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processes": jax.process_count(),
    }
    with (workdir / "starts.jsonl").open("a") as file:
        file.write(json.dumps(start) + "\n")


class Writer:
    """Scalars to metrics.jsonl and TensorBoard, images to TensorBoard."""

    def __init__(self, workdir: pathlib.Path, first_step: int, active: bool = True):
        """Opens the files of `workdir` to go on after `first_step`.

        What a lost attempt wrote beyond first_step is dropped, so that each step
        stands there once. active: False makes every call do nothing.
        """
        self._active = active
        if not active:
            return
        path = workdir / JSONL
        if path.exists():
            lines = path.read_text().splitlines()
            kept = [line for line in lines if json.loads(line)["step"] <= first_step]
            path.write_text("".join(line + "\n" for line in kept))
        self._file = path.open("a")
        self._board = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=first_step + 1
        )

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes one line and one point per name."""
        if not self._active:
            return
        self._file.write(json.dumps({"step": step} | values) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: np.ndarray) -> None:
        """Shows a uint8 (h, w, 3) picture in TensorBoard."""
        if self._active:
            self._board.add_image(name, image, step, dataformats="HWC")
            self._board.flush()

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._active:
            self._file.close()
            self._board.close()


class Timer:
    """Shares of wall-clock time by activity, between two reports."""

    def __init__(self):
        self._start = time.perf_counter()
        self._spent: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Adds the time spent inside the block to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self._spent[name] = self._spent.get(name, 0.0) + elapsed

    def report(self) -> tuple[float, dict[str, float]]:
        """(seconds since the last report, {name: share of them}); starts anew."""
        now = time.perf_counter()
        seconds = max(now - self._start, 1e-9)
        shares = {name: spent / seconds for name, spent in self._spent.items()}
        self._start, self._spent = now, {}
        return seconds, shares
