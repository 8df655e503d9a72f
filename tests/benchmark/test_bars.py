"""The bar's lines: met, missed, not measured; and the page made of them."""

import json

import pytest

from id2face_jax.benchmark import bars, comparison, table
from tests.benchmark import made_up


@pytest.fixture
def result():
    return made_up.result()


def line(result, start: str) -> dict:
    (found,) = [x for x in bars.verdicts(result) if x["figure"].startswith(start)]
    return found


def test_every_figure_is_met_missed_or_not_measured(result):
    found = bars.verdicts(result)
    assert len(found) == len(bars.BARS) == 13
    assert all(x["met"] is True for x in found)
    assert {x["met"] for x in bars.verdicts({})} == {None}
    assert {x["measured"] for x in bars.verdicts({})} == {None}


@pytest.mark.parametrize(
    "start, path, value",
    [
        ("default sampler", ("comparison", "samplers", "rows", 0, "ratio"), 1.9),
        ("train step against", ("comparison", "training", "ratio"), 1.4),
        ("identical", ("comparison", "identical", "rows", 0, "ratio"), 1.1),
        ("sampler at batch 16", ("sampler", "rows", 1, "share_of_ceiling"), 0.5),
        (
            "command to first picture, warm",
            ("startup", "first_picture", "warm", "median"),
            6.5,
        ),
        ("anonymize a folder", ("folders", "faces_per_s"), 1.9),
        ("time per face", ("folders", "seconds_per_face", 1), 0.5),
        ("peak memory", ("folders", "peak_bytes", "100"), 2e9),
        ("train step's wait", ("training", "wait_share"), 0.03),
        ("train throughput", ("devices", "kept"), 0.8),
    ],
)
def test_a_worse_value_misses_its_figure_and_no_other(result, start, path, value):
    *parts, last = path
    place = result
    for part in parts:
        place = place[part]
    place[last] = value
    missed = [x["figure"] for x in bars.verdicts(result) if x["met"] is False]
    assert len(missed) == 1 and missed[0].startswith(start)


def test_a_figure_at_its_limit_is_met(result):
    result["devices"]["kept"] = 0.9
    result["startup"]["first_picture"]["cold"]["median"] = 20
    assert line(result, "train throughput")["met"]
    assert line(result, "command to first picture, cold")["met"]


def test_without_a_comparison_its_figures_are_not_measured(result):
    del result["comparison"]
    assert line(result, "default sampler")["met"] is None
    assert line(result, "sampler at")["met"] is True


def test_the_page_has_all_sections_and_a_line_a_figure(result):
    result["bars"] = bars.verdicts(result)
    page = table.to_markdown(json.loads(json.dumps(result)))
    for bar in bars.BARS:
        assert f"| {bar.figure} | {bar.must} |" in page
    for heading in ("ceilings", "Sampler", "Train step", "Start-up", "Stages"):
        assert heading in page
    assert page.count("| met |") == 13 and "smoke test" not in page


def test_the_page_of_a_part_says_what_is_missing(result):
    part = {k: result[k] for k in ("date", "quick", "conditions", "model", "machine")}
    part["quick"] = True
    part["bars"] = bars.verdicts(part)
    page = table.to_markdown(part)
    assert page.count("not measured") == 13 and "smoke test" in page
    assert "## Sampler" not in page


def test_counts_of_other_work_are_refused():
    comparison.check_same("operations", 104, 100)
    with pytest.raises(ValueError, match="operations.*no comparison of the same work"):
        comparison.check_same("operations", 106, 100)


def test_the_ratio_is_of_medians():
    found = comparison.ratio({"ours": [1.0, 1.0, 9.0], "torch": [3.0, 3.0, 3.0]})
    assert found["ratio"] == 3.0
