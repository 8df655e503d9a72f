"""Real `kill -9`s; the many are in docs/anonymizing.md, with their command."""

import pathlib
import re
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_end_as_if_they_were_not():
    """No result is lost, half-written or the source's, while it is down and after."""
    done = subprocess.run(
        [sys.executable, "-m", "studies.kills", "--kills", "12", "--seed", "1"],
        cwd=pathlib.Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 faults" in done.stdout
    counts = re.findall(r"\| (?:folder|clip|shard) \| \d+ \| (\d+) \|", done.stdout)
    assert len(counts) == 3 and sum(map(int, counts)) == 12
