"""Test-wide settings: CPU with 8 host devices, parsed absl flags, shared data."""

import os
import pathlib
import signal

from tests import quick

# Before jax is imported anywhere: one CPU stands in for eight devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS", f"--xla_force_host_platform_device_count=8 {quick.FLAGS}"
)
# A program that a second test, process or run of the suite needs is compiled once.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(__file__).resolve().parents[1] / ".pytest_cache" / "compiled"),
)

import pytest
from absl import flags

flags.FLAGS.mark_as_parsed()
# A shell's background jobs ignore Ctrl-C, and so would what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The folder of real faces and evaluation networks; skips, loudly, without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data at {SHARED}: the real-face checks did not run")
    return SHARED


# The longest files first: the processes of the suite take a file at a time, and none
# should begin one of these when the others are about to end.
LONGEST = (
    "training/test_processes.py",
    "training/test_steps.py",
    "test_cases.py",
    "training/test_recomposition.py",
    "evaluation/test_runner.py",
    "training/test_train.py",
    "training/test_sharding.py",
    "test_full_scale.py",
    "test_one_gpu.py",
    "evaluation/report/test_report.py",
    "benchmark/test_command.py",
    "training/test_finishing.py",
    "web/test_server.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts files, not the tests in them."""
    tests = pathlib.Path(__file__).parent
    place = {tests / name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
