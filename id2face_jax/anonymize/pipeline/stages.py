"""Where the time of anonymizing goes, stage by stage.

A stage is a block of the thread that drives the pictures; what it waits for may run on
many threads. Stages do not nest there, so their seconds add up to at most the whole.
Nobody measures unless `measure` is entered, as `id2face benchmark` does.
"""

import contextlib
import contextvars
import time
from collections.abc import Iterator

# "verify" is all that happens after the paste: looking again, blurring, searching for
# what was missed.
STAGES = (
    *("decode", "detect", "align", "embed"),
    *("sample", "blend", "verify", "encode"),
)
_seconds: contextvars.ContextVar[dict[str, float] | None] = contextvars.ContextVar(
    "seconds", default=None
)


@contextlib.contextmanager
def measure() -> Iterator[dict[str, float]]:
    """Gives the seconds of each of STAGES, of this thread, as they pass."""
    seconds = dict.fromkeys(STAGES, 0.0)
    token = _seconds.set(seconds)
    try:
        yield seconds
    finally:
        _seconds.reset(token)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Counts the block for a stage, if somebody measures."""
    seconds = _seconds.get()
    if seconds is None:
        yield
        return
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] += time.perf_counter() - start
