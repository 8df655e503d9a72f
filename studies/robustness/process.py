"""The command in processes of its own, with the tests' stand-ins for the networks.

Forked, so that what takes seconds to load is loaded once, and a crash is a child's.
"""

import dataclasses
import os
import pathlib
import signal
import sys
import time
import traceback

from id2face_jax import cli
from id2face_jax.anonymize.batch import cluster, dataset, runner  # noqa: F401
from id2face_jax.anonymize.pipeline import generator
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.commands import anonymize  # noqa: F401
from tests.anonymize import planted


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
      code: its exit code; negative if a signal ended it.
      peak_mb: of its memory.
      told: what it printed.
    """

    code: int
    peak_mb: float
    told: str


def plant(new_face=planted.other_face) -> None:
    """Stand-ins wherever the command loads trained networks, in this process."""
    Anonymizer.from_pretrained = lambda path=None, **options: Anonymizer(
        planted.PlantedGenerator(new_face),
        [planted.PlantedRecognizer()],
        planted.PlantedDetector(),
        options["settings"],
    )
    generator.use_compilation_cache = lambda: None


def start(arguments: list[str], log: str | os.PathLike = os.devnull) -> int:
    """The number of a process that runs `id2face anonymize`. log: what it prints."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = cli.main(["anonymize", *arguments, "--quiet"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(arguments: list[str], log: pathlib.Path, limit: float) -> Ended:
    """A run to its end, or until it is killed after `limit` seconds."""
    process, deadline = start(arguments, log), time.monotonic() + limit
    while True:
        done, status, used = os.wait4(process, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.005)
    told = log.read_text(errors="replace") if log.exists() else ""
    return Ended(os.waitstatus_to_exitcode(status), used.ru_maxrss / 1024, told)


def wait(process: int) -> int:
    """The exit code of a process; negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
