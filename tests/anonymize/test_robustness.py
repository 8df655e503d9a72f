"""Real `kill -9`s and damaged files; the many are in docs/anonymizing.md."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from studies.robustness import fuzz
from tests.anonymize import planted


def study(name, *arguments):
    """What a study prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", f"studies.robustness.{name}", *arguments],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_end_as_if_they_were_not():
    """No result is lost, half-written or the source's, while it is down and after."""
    told = study("kills", "--kills", "12", "--seed", "1")
    assert "0 faults" in told
    counts = re.findall(r"\| (?:folder|clip|shard) \| \d+ \| (\d+) \|", told)
    assert len(counts) == 3 and sum(map(int, counts)) == 12


@pytest.mark.slow
def test_damaged_files_end_no_run_and_leave_as_themselves_through_no_door():
    numbers = ("--images", "50", "--clips", "10", "--labels", "30", "--seed", "3")
    told = study("fuzz", *numbers)
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| 0 \| 0 \| 0 \| 0 \|", told, re.M)
    assert [(name, int(files)) for name, files, _ in rows] == [
        *(("images", 50), ("clips", 10), ("labels", 30)),
    ]
    assert all(int(results) for *_, results in rows)  # not all were refused


def test_a_face_that_shows_is_seen_whatever_the_light():
    before = planted.picture(0)
    darker = np.clip(0.6 * before + 20, 0, 255).astype(np.uint8)
    assert fuzz.is_same(before, before) and fuzz.is_same(before, darker)
    assert not fuzz.is_same(before, 255 - before)
    assert not fuzz.is_same(before, planted.picture(1))
    assert fuzz._leaks(f"v: {fuzz.seeds.VECTOR[40:]}".encode())
    assert not fuzz._leaks(b"v: 0.1 0.2")
