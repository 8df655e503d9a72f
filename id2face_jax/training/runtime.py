"""How a process becomes part of a run: jax.distributed and the compilation cache.

Owns what must happen before the first device call. Leaves devices to `sharding`.
"""

import os
import pathlib
import re
import signal
import socket
import sys
import time

from id2face_jax.errors import UsageError

_STARTED = time.monotonic()
_ONE_OF_MANY = re.compile(r"(\d+)/(\d+)@(.+:\d+)")


def minutes() -> float:
    """Since this process took up training; what config.train.max_minutes limits."""
    return (time.monotonic() - _STARTED) / 60.0


def check(distributed: str, patience: int) -> None:
    """Raises UsageError for arguments that `start` does not know."""
    if patience < 1:
        raise UsageError(f"--patience is {patience}; use 1 second or more")
    if distributed not in ("none", "auto") and not _ONE_OF_MANY.fullmatch(distributed):
        raise UsageError(
            f"--distributed is {distributed!r}; use none, auto, or I/N@HOST:PORT such "
            "as 0/2@localhost:9876"
        )


def start(distributed: str = "none", patience: int = 100) -> None:
    """Joins the other processes, before any device call.

    Args:
      distributed: "none", this process alone; "auto", as the cluster's environment
        says (SLURM, Cloud TPU, Kubernetes); or "I/N@HOST:PORT", process I of N.
      patience: seconds. A process that is dead or silent for so long ends all others
        with an error: they would wait for it in the next collective for ever.

    Raises:
      UsageError: another word, or no time at all.
    """
    import jax  # here, so that mistakes are told before it

    check(distributed, patience)
    if distributed == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=patience)
        return
    if distributed == "none":
        # Even one process: jax's notice of SIGTERM is a service of its coordinator.
        # Without it the signal kills the run, unsaved.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        jax.distributed.initialize(
            address, 1, 0, coordinator_bind_address=address, local_device_ids=None
        )
        return
    index, num, address = _ONE_OF_MANY.fullmatch(distributed).groups()
    jax.distributed.initialize(
        address, int(num), int(index), heartbeat_timeout_seconds=patience
    )


def save_on_interrupt() -> None:
    """Makes the first Ctrl-C save and stop, as SIGTERM does; the second ends at once.

    After `start`, which makes jax listen for SIGTERM. In the main thread.
    """

    def first(number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("\nstopping after this step; Ctrl-C again: now, unsaved", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGINT, first)


def cache_compiled_programs(workdir: pathlib.Path) -> None:
    """Keeps compiled programs in JAX_COMPILATION_CACHE_DIR, else in the workdir.

    The folder is trusted code: it must not be writable by others.
    """
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = workdir.absolute() / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
