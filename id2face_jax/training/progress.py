"""What a user is told while a run goes on, and what is kept from them.

Owns lines on stderr and the noise of libraries. Leaves numbers to `metrics`.
"""

import contextlib
import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator

_EVERY = 30.0  # seconds between two signs of life


def hide_library_noise() -> None:
    """For a process that is a command: what libraries log never follows our own lines.

    Before jax is imported. Errors of their threads are raised where we wait for them,
    and told then; XLA's alarm at slow compiling says what `going_on` says.
    TF_CPP_MIN_LOG_LEVEL in the environment wins.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in ("absl", "asyncio", "jax", "orbax", "tensorboardX"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    threading.excepthook = lambda args: None
    # Writers that could not write try once more while Python ends.
    sys.unraisablehook = lambda args: None
    ours = logging.getLogger("id2face_jax")
    ours.setLevel(logging.INFO)
    ours.handlers = [_Teller()]


class _Teller(logging.Handler):
    """Our own log, told as all else: which kernel attends, for one."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def say(message: str) -> None:
    """Tells the user, once whatever the number of processes, above the bar."""
    import jax
    import tqdm

    if jax.process_index() == 0:
        tqdm.tqdm.write(message, file=sys.stderr)


@contextlib.contextmanager
def going_on(what: str, every: float = _EVERY) -> Iterator[None]:
    """Says that `what` begins and, every so many seconds, for how long it has gone on.

    Two lines at least, if it takes longer: who waits for minutes sees that it lives.
    """
    began, done = time.monotonic(), threading.Event()
    say(f"{what} ...")

    def tell():
        while not done.wait(every):
            say(f"{what}: {time.monotonic() - began:.0f} s so far")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
