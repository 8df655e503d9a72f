"""From people to three files: the whole run on made-up people, and the command."""

import json
import re

import numpy as np
import pytest

from id2face_jax import cli
from id2face_jax.evaluation import runner
from id2face_jax.evaluation.methods import catalog
from id2face_jax.evaluation.metrics import attacks, diversity, intervals, quality
from id2face_jax.evaluation.models import detectors
from id2face_jax.evaluation.report import files
from tests.evaluation import made_up


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(result, folder) of a run with a generator, controls and attacks."""
    out = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detectors, "find_faces", made_up.find)
        patch.setattr(quality, "MAX_SET_FACES", 6)
        patch.setattr(intervals, "NUM_SET_RESAMPLES", 3)
        patch.setattr(diversity, "NUM_IDENTITIES", 3)
        patch.setattr(attacks, "MIN_PARROT_PHOTOS", 3)
        patch.setattr(attacks, "_FOLDS", 3)
        context, generator = (
            made_up.open_context(out / "cache"),
            made_up.make_generator(),
        )
        names = ("id2face", "swap", "identity")
        rows = catalog.make_methods(names, context.people, generator)
        result = runner.evaluate(
            context, rows, generator, path="made up", split="test", with_attacks=True
        )
        files.write_all(result, context, rows, generator, out)
    return result, out


def test_the_result_is_stored_as_it_is(written):
    result, out = written
    assert json.loads((out / "evaluation.json").read_text()) == result


def test_every_figure_with_an_interval_lies_in_it(written):
    def check(fields):
        for name, (low, high) in fields["intervals"].items():
            assert low - 1e-9 <= fields[name] <= high + 1e-9, name
            assert fields["counts"][name][0] >= 1

    for row in written[0]["rows"]:
        for fields in (row, *row["recognizers"].values(), *row["fairness"]):
            check(fields)
        for kind in row["attacks"].values():
            for fields in kind.values():
                check(fields)


def test_attacks_are_beside_their_chance(written):
    rows = {row["method"]: row for row in written[0]["rows"]}
    assert rows["id2face"]["attacks"]["keyed"]["dlib"]["rank1_chance"] == 1 / 12
    assert "keyed" not in rows["identity"]["attacks"]
    parrot = rows["identity"]["attacks"]["parrot"]["dlib"]
    assert 0 < parrot["chance"] < parrot["accuracy"] <= 1
    leak = written[0]["model"]["attribute_leak"]["dlib"]
    for what in ("image", "surroundings"):
        assert leak[what]["top1_chance"] == leak["attributes"]["top1_chance"]
    read = leak["attributes"]["cosine"] / leak["image"]["cosine"]
    assert leak["cosine_share"] == pytest.approx(read)


def test_the_report_loads_nothing_and_explains_every_picture(written):
    text = (written[1] / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', text)
    pictures = re.findall(r"<img[^>]*></div>\s*<figcaption>(.*?)</figcaption>", text)
    assert len(pictures) == text.count("<img") == 7  # gate maps among them
    assert all(len(sentence) > 40 for sentence in pictures)
    for title in ("Privacy", "Utility", "Quality", "Attack: parrot", "Attack: keys"):
        assert f"<h2>{title}</h2>" in text


def test_the_markdown_holds_every_row_and_tells_failures(written):
    result, out = written
    text = (out / "evaluation.md").read_text()
    assert text.count("| swap |") >= 4
    assert all(failure in text for failure in result["failures"])


def test_interventions_are_measured_and_shown(written):
    result, out = written
    found = result["model"]["interventions"]
    assert set(found) == {"identity", "attributes", "photos"}
    assert all(-1 <= fields["cosine_dlib"] <= 1 for fields in found.values())
    assert all(row["states"] is None for row in result["rows"])  # no full photos here
    text = (out / "evaluation.md").read_text()
    assert "## Interventions" in text and "| the photo alone |" in text


@pytest.fixture(scope="module")
def folder(people_tar, tmp_path_factory):
    """Three people with two photos each, as files: too few for any threshold."""
    root = tmp_path_factory.mktemp("photos")
    pairs = sorted(p for p, photos in people_tar.items() if len(photos) == 2)
    for person in pairs[:3]:
        (root / person).mkdir()
        for name, data in people_tar[person]:
            (root / name).write_bytes(data)
    return root


def test_the_command_measures_a_folder_of_photos_and_goes_on(
    folder, quick, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("ID2FACE_CACHE_DIR", str(tmp_path / "programs"))
    arguments = ["evaluate", str(folder), "--out", str(tmp_path / "out")]
    arguments += ["--methods", "blur,identity"]
    assert cli.main(arguments) == 0
    assert "evaluation.json" in capsys.readouterr().out
    first = (tmp_path / "out" / "evaluation.json").read_bytes()
    result = json.loads(first)
    assert result["data"]["num_photos"] == 6
    figures = result["rows"][0]["recognizers"]["dlib"]
    assert figures["tar_far_1e-2"] is None
    assert "too few" in figures["not_measured"]["tar_far_1e-2"]

    def again(*arguments, **options):
        raise AssertionError("a finished stage was computed again")

    monkeypatch.setattr(np, "savez_compressed", again)
    assert cli.main(arguments) == 0
    assert (tmp_path / "out" / "evaluation.json").read_bytes() == first


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "nowhere does not exist; give a folder of photos"),
        ([".", "--methods", "mosaic"], "expected some of anonymize,"),
        ([".", "--limit", "1"], "use 2 photos or more"),
        ([".", "--batch-size", "0"], "use 1 or more"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, message, tmp_path, capsys):
    methods_given = [] if "--methods" in arguments else ["--methods", "blur"]
    code = cli.main(
        ["evaluate", *arguments, *methods_given, "--out", str(tmp_path / "out")]
    )
    error = capsys.readouterr().err
    assert code == 1 and message in error and error.count("\n") == 1
