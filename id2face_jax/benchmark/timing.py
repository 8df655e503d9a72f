"""Clocks: repetitions in turns, and processes watched from outside.

Owns how time and memory are taken. A task is a function that returns when its work is
done, not when it is queued.
"""

import dataclasses
import os
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


def run_child(command: Sequence[str], **environment: str) -> Child:
    """Runs a command to its end.

    environment: variables to add. Raises ValueError, with its last words, if it fails.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )
        # Not `wait`: only this one tells the memory of this child alone.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise ValueError(
            f"`{' '.join(command)}` ended with code {process.returncode}: "
            f"{text.strip()[-500:]}"
        )
    unit = 1 if sys.platform == "darwin" else 1024
    return Child(seconds, usage.ru_maxrss * unit, text)
