"""What a run writes down: TensorBoard, metrics.jsonl, profiles, where the time went.

Owns files of numbers and pictures under the workdir, and the clocks. Only process 0
writes. Leaves what to measure, and when to fetch it from the device, to `train`.
"""

import contextlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np
import tensorboardX

from id2face_jax import atomic

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


def read_rows(workdir: pathlib.Path) -> list[dict]:
    """The lines of metrics.jsonl, [] without one; without a last line that is cut.

    A crash in the middle of writing cuts the last line alone. Raises ValueError, with
    its number, for any other line that is no JSON.
    """
    path = workdir / JSONL
    lines = path.read_text().splitlines() if path.exists() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(
                    f"{path}: line {number} is damaged ({error}); remove that line"
                ) from error
    return rows


def means(rows: Sequence[dict]) -> dict[str, float]:
    """The mean of each scalar over several steps, or batches.

    Of a quarter of time (see `losses.by_quarter`), over those that had a row in it: the
    others say 0, which no error is. One that nobody saw is left out.
    """
    found = {}
    for name in rows[0] if rows else ():
        values = [float(row[name]) for row in rows]
        if name[-3:-1] == "_t":
            values = [value for value in values if value != 0.0]
        if values:
            found[name] = float(np.mean(values))
    return found


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
            kept = [row for row in read_rows(workdir) if row["step"] <= first_step]
            text = "".join(json.dumps(row) + "\n" for row in kept)
            # A reader may look while the run starts.
            atomic.write_atomically(path, text.encode())
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


class Goodput:
    """The share of a run's hours that went into steps which its state has kept.

    The rest is set-up, compiling, waiting for data, saving, evaluating, and the steps
    that a crash lost. Hours between a stop and the next start count for nothing, since
    nobody paid a machine for them.
    """

    def __init__(self, workdir: pathlib.Path, first_step: int):
        """Goes on from what metrics.jsonl says; before a Writer drops lost lines."""
        rows = [row for row in read_rows(workdir) if "run/hours" in row]
        kept = [row for row in rows if row["step"] <= first_step]
        self.hours = rows[-1]["run/hours"] if rows else 0.0
        self._good = kept[-1]["run/hours"] * kept[-1]["run/goodput"] if kept else 0.0

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self._good / self.hours if self.hours else 0.0

    def add(self, seconds: float, in_steps: float = 0.0) -> dict[str, float]:
        """Counts `seconds`, of which `in_steps` were steps; returns what to write."""
        self.hours += seconds / 3600
        self._good += in_steps / 3600
        return {"run/hours": self.hours, "run/goodput": self.share}


class ProfileWindow:
    """A profile of a few steps, for TensorBoard with tensorboard-plugin-profile.

    Every process writes its own host's part under `folder`.
    """

    def __init__(self, folder: pathlib.Path, first_step: int, num_steps: int):
        """first_step: the last step before the window; 0: no profile."""
        self._folder, self._first, self._num = folder, first_step, num_steps
        self._is_open = False

    def at(self, step: int, state) -> None:
        """Opens or closes the window if it is due; `state` is what to wait for."""
        if self._first and step == self._first:
            jax.block_until_ready(state)  # of the steps before, not in the window
            jax.profiler.start_trace(self._folder)
            self._is_open = True
        elif self._is_open and step == self._first + self._num:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        """Writes the profile, if the window is open."""
        if self._is_open:
            self._is_open = False
            jax.profiler.stop_trace()
