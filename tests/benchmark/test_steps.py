"""studies/steps.py: on whom it chooses, and what it calls close."""

import argparse
import json
import pathlib
import subprocess
import types

import pytest

from studies import steps


@pytest.fixture
def script():
    return steps


def row(frechet: float, found: float = 1.0) -> dict:
    return {
        "detection_rate": found,
        "frechet_distance": frechet,
        "landmark_error_pct": None,  # was not measured
        "intervals": {"frechet_distance": [3.5, 4.5], "detection_rate": [1.0, 1.0]},
        "recognizers": {"built-in": {"cosine_mean": 0.1, "intervals": {}}},
    }


def test_it_evaluates_validation_people_by_no_further_network(
    script, monkeypatch, tmp_path
):
    commands = []

    def run(command, cwd):
        commands.append(command)
        out = pathlib.Path(command[command.index("--out") + 1])
        out.mkdir(parents=True)
        content = {"data": {}, "rows": [row(4.0)]}
        (out / "evaluation.json").write_text(json.dumps(content))
        return types.SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    args = argparse.Namespace(records="r", checkpoint=None, limit=8, work=str(tmp_path))
    assert script.evaluate(6, args)["row"] == row(4.0)
    (command,) = commands
    assert command[command.index("--split") + 1] == "validation"
    assert command[command.index("--steps") + 1] == "6"
    networks = {"--recognizer", "--pose", "--expression", "--second-detector"}
    assert not networks & set(command) and "test" not in command


@pytest.mark.parametrize(
    "frechet, found, worse",
    [
        (4.0, 1.0, []),
        (4.19, 1.0, []),  # within 5 %
        (4.4, 1.0, []),  # within the interval
        (4.6, 1.0, ["frechet_distance"]),
        (1.0, 1.0, []),  # better is not worse
        (4.0, 0.9, ["detection_rate"]),
    ],
)
def test_a_figure_is_worse_beyond_5_percent_and_the_interval(
    script, frechet, found, worse
):
    rows = {6: script.figures(row(frechet, found)), 100: script.figures(row(4.0))}
    assert script.verdicts(rows) == {6: worse, 100: []}


def test_the_page_names_the_least_steps_that_are_enough(script, tmp_path):
    rows = {4: row(9.0), 10: row(4.1), 100: row(4.0)}
    data = {"num_photos": 8, "num_people": 4}
    script.write({n: {"data": data, "row": r} for n, r in rows.items()}, tmp_path)
    page = (tmp_path / "steps.md").read_text()
    assert "| <= 12 | 10 | met |" in page and "`validation`" in page
    rows[10] = row(9.0)
    script.write({n: {"data": data, "row": r} for n, r in rows.items()}, tmp_path)
    assert "| <= 12 | 100 | **missed** |" in (tmp_path / "steps.md").read_text()
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")
    assert set(json.loads((tmp_path / "steps.json").read_text())["steps"]) == {
        *("4", "10", "100")
    }
