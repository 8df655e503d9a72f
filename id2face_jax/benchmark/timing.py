"""Clocks: repetitions in turns, and processes watched from outside.

Owns how time and memory are taken. A task is a function that returns when its work is
done, not when it is queued.
"""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence


def in_turns(
    tasks: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of each repetition of each task; all tasks once, then all again.

    So whatever slows the machine for a while slows all of them. Each runs once before,
    unmeasured: it compiles then.
    """
    for task in tasks.values():
        task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: Sequence[float]) -> dict:
    """Median, extremes and number of repetitions, as they stand in the JSON."""
    return {
        "median": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "repeats": len(seconds),
    }


@dataclasses.dataclass(frozen=True)
class Child:
    """A process that has ended well: seconds, peak resident bytes, what it printed."""

    seconds: float
    peak_bytes: int
    output: str


# A process counts the memory of the one that started it as its own peak (Linux, exec),
# so a small one starts the command and reports of it: seconds, peak, exit code.
_LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(sys.argv[1], "w") as file:
    json.dump([seconds, peak, code], file)
"""


def run_child(command: Sequence[str], **environment: str) -> Child:
    """Runs a command to its end.

    environment: variables to add. Raises ValueError, with its last words, if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        notes = pathlib.Path(folder) / "notes.json"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(notes), *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            check=True,
        )
        seconds, peak, code = json.loads(notes.read_text())
    output = done.stdout.decode(errors="replace")
    if code:
        raise ValueError(
            f"`{' '.join(command)}` ended with code {code}: {output.strip()[-500:]}"
        )
    unit = 1 if sys.platform == "darwin" else 1024
    return Child(seconds, peak * unit, output)
