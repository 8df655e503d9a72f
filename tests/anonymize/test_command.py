"""`id2face anonymize`, `key` and `demo` through the front door, on planted models."""

import json
import pathlib

import numpy as np
import PIL.Image
import pytest

from id2face_jax import cli
from id2face_jax.anonymize.pipeline.options import FaceOptions
from tests.anonymize import planted
from tests.anonymize.clips import write_clip


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Planted models instead of trained ones; a list of what they were loaded with."""
    calls = planted.plant(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "ann/1.png", "ann/2.png", "bob/1.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(planted.picture(seed)).save(path)
    return calls


def report(path="out/report.json"):
    return json.loads(pathlib.Path(path).read_text())


def test_folder(loaded, capsys):
    assert cli.main(["anonymize", "photos", "-o", "out"]) == 0
    assert sorted(str(p) for p in pathlib.Path("out").rglob("*.png")) == [
        "out/a.png",
        "out/ann/1.png",
        "out/ann/2.png",
        "out/bob/1.png",
    ]
    assert report()["totals"]["files"]["anonymized"] == 4
    assert "4 files: 4 anonymized; faces: 4 anonymized" in capsys.readouterr().out
    page = pathlib.Path("out/report.html").read_text()
    assert "0 of 4" in page and "photos/ann/1.png" in page and "<script" not in page


def test_flicker_of_a_video_is_told(loaded, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", num=3, sound=False)
    assert cli.main(["anonymize", str(clip), "-o", "out"]) == 0
    shown = capsys.readouterr().out
    assert f"flicker of {clip} from frame to frame: embedding drift 0.0" in shown
    again = ["anonymize", str(clip), "-o", "out", "--overwrite", "--hold", "0.5"]
    assert cli.main([*again, "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    (run,) = json.loads(pathlib.Path("out/report.json").read_text())["runs"].values()
    assert run["settings"]["video"]["hold"] == 0.5


def test_defaults_of_the_command_are_those_of_python(loaded):
    assert cli.main("anonymize photos/a.png -o new.jpg --quiet".split()) == 0
    (call,) = loaded
    assert call["settings"] == FaceOptions()


def test_one_file_with_every_choice_of_faces(loaded):
    command = (
        "anonymize photos/a.png -o new.jpg --seed 3 --steps 7 --strength 110 --quiet "
        "--det-thresh 0.3 --mask-scale 1.2 --batch-size 2 --on-failure refuse "
        "--metadata safe --report r.json --verifier v.onnx --recognizer r.onnx"
    )
    assert cli.main(command.split()) == 0
    (call,) = loaded
    settings = call["settings"]
    assert (settings.seed, settings.strength, settings.det_threshold) == (3, 110.0, 0.3)
    assert (settings.mask_scale, settings.on_failure) == (1.2, "refuse")
    assert (call["num_steps"], call["max_batch"]) == (7, 2)
    assert (call["verifier"], call["recognizer"]) == ("v.onnx", "r.onnx")
    assert pathlib.Path("new.jpg").exists()
    (made_with,) = report("r.json")["runs"].values()
    assert made_with["settings"]["metadata"] == "safe"


def test_refused_files_are_exit_code_three(loaded, capsys):
    pathlib.Path("photos/bad.jpg").write_bytes(b"")
    assert cli.main(["anonymize", "photos", "gone.png", "-o", "out"]) == 3
    told = capsys.readouterr().err
    assert "refused photos/bad.jpg: bad.jpg is empty" in told
    assert "refused gone.png: gone.png is not there" in told
    assert report()["totals"]["files"] == {
        "anonymized": 4,
        "no_face": 0,
        "fallback": 0,
        "refused": 2,
    }


def test_blurred_faces_are_safe_and_said(loaded, capsys):
    command = ["anonymize", "photos", "-o", "out", "--checkpoint", "pass_through"]
    assert cli.main(command) == 0
    assert "4 fallback" in capsys.readouterr().out
    assert cli.main([*command, "--on-failure", "refuse", "--overwrite"]) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        "anonymize photos/a.png photos/ann/1.png -o out.png",
        "anonymize photos -o out.png",
        "anonymize photos -o out --person-from parent",
    ],
)
def test_wrong_usage_is_exit_code_two(loaded, wrong):
    assert cli.main(wrong.split()) == 2 and not loaded


@pytest.mark.parametrize(
    "wrong",
    [
        "anonymize photos",
        "anonymize photos -o out --keep a.png --only b.png",
        "anonymize photos -o out --overwrite --skip-existing",
        "anonymize photos -o out --metadata some",
        "anonymize photos -o out --no-such-option",
        "anonymize photos -o out --key secret",
    ],
)
def test_what_the_parser_refuses(loaded, wrong):
    with pytest.raises(SystemExit) as error:
        cli.main(wrong.split())
    assert error.value.code == 2 and not loaded


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("anonymize empty -o out", "no photo in empty"),
        ("anonymize photos -o out --strength 30", "strength is 30.0"),
        ("anonymize photos -o out --key-file photos/a.png", "chmod 600"),
        ("anonymize photos -o out --keep photos/none.png", "none.png is not there"),
    ],
)
def test_errors_are_exit_code_one(loaded, capsys, wrong, message):
    pathlib.Path("empty").mkdir()
    assert cli.main(wrong.split()) == 1
    assert message in capsys.readouterr().err


def test_a_stricter_run_leaves_no_face_that_the_last_one_kept(loaded, capsys):
    command = ["anonymize", "photos", "-o", "out", "--on-no-face", "copy", "--quiet"]
    cli.main([*command, "--keep", "photos/a.png"])
    kept = pathlib.Path("out/a.png").read_bytes()
    assert cli.main([*command, "--skip-existing"]) == 0
    told = capsys.readouterr().err
    assert "4 files were done before with other settings" in told
    assert pathlib.Path("out/a.png").read_bytes() == kept
    assert cli.main(command) == 0
    assert "other settings" not in capsys.readouterr().err
    assert pathlib.Path("out/a.png").read_bytes() != kept
    assert {file["state"] for file in report()["files"]} == {"anonymized"}


def test_another_person_or_key_is_another_run(loaded):
    """Though the report says neither who was kept nor with which key."""
    for name in ("k.key", "q.key"):
        assert cli.main(["key", name]) == 0
    command = ["anonymize", "photos", "-o", "out", "--on-no-face", "copy", "--quiet"]
    keyed = ["--person-from", "parent", "--key-file"]
    runs = []
    for choice in (
        ["--keep", "photos/a.png"],
        ["--keep", "photos/ann/1.png"],
        [*keyed, "k.key"],
        [*keyed, "q.key"],
    ):
        assert cli.main([*command, *choice]) == 0
        runs += report()["runs"].items()
    assert len(runs) == len(dict(runs)) == 4
    assert runs[0][1] == runs[1][1] and runs[2][1] == runs[3][1]


def test_keep_and_only(loaded):
    arguments = ["anonymize", "photos", "-o", "out", "--on-no-face", "copy"]
    assert cli.main([*arguments, "--keep", "photos/a.png"]) == 0
    by_name = {file["input"]: file["state"] for file in report()["files"]}
    assert by_name.pop("photos/a.png") == "no_face"
    assert set(by_name.values()) == {"anonymized"}
    cli.main([*arguments, "--overwrite", "--only", "photos/a.png"])
    by_name = {file["input"]: file["state"] for file in report()["files"]}
    assert by_name["photos/a.png"] == "anonymized" and "no_face" in by_name.values()


def test_dry_run_and_aligned(loaded):
    assert cli.main(["anonymize", "photos/a.png", "-o", "out", "--dry-run"]) == 0
    assert [p.name for p in pathlib.Path("out").glob("*.png")] == ["a.png.boxes.png"]
    assert pathlib.Path("out/dry-run.json").exists()
    assert cli.main(["anonymize", "photos/a.png", "-o", "out", "--aligned"]) == 3
    assert "aligned crop is square" in report()["files"][0]["message"]


def test_key_from_folder_names(loaded):
    assert cli.main(["key", "k"]) == 0
    command = "anonymize photos -o out --key-file k --person-from parent"
    assert cli.main(command.split()) == 0
    text = pathlib.Path("out/report.json").read_text()
    key = pathlib.Path("k").read_text().split()[-1]
    assert key not in text and report()["runs"].popitem()[1]["settings"]["keyed"]
    assert not pathlib.Path("k.gallery").exists()


def test_key_by_similarity_keeps_a_gallery(loaded):
    cli.main(["key", "k"])
    command = "anonymize photos -o out --key-file k".split()
    assert cli.main(command) == 0 and pathlib.Path("k.gallery").exists()
    before = pathlib.Path("out/a.png").read_bytes()
    assert cli.main([*command, "--overwrite", "--gallery", "k.gallery"]) == 0
    assert pathlib.Path("out/a.png").read_bytes() == before


def test_demo(loaded, capsys, monkeypatch):
    from id2face_jax import demo

    scenes = {"one": planted.picture(0), "none": np.zeros((60, 60, 3), np.uint8)}
    monkeypatch.setattr(demo, "pictures", lambda: scenes)
    assert cli.main(["demo", "--out", "show"]) == 3
    told = capsys.readouterr().out
    assert "one        anonymized" in told and "none       refused" in told
    for name in ("before/one.png", "after/one.png", "sheet.png", "report.json"):
        assert (pathlib.Path("show") / name).exists()
    assert cli.main(["demo", "--out", "show"]) == 3  # again: replaced


def test_demo_pictures_are_what_they_say():
    from id2face_jax import demo

    shapes = {name: pixels.shape for name, pixels in demo.pictures().items()}
    assert set(shapes) == {
        "portrait",
        "two",
        "touching",
        "turned20",
        "turned90",
        "small",
    }
    assert all(pixels.dtype == np.uint8 for pixels in demo.pictures().values())
