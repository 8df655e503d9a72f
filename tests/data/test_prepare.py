"""Preparing: odd files, the choice of the subject, splits, resuming, the verb."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from id2face_jax import cli
from id2face_jax.data import photos, prepare, records
from id2face_jax.faces import align, embed
from id2face_jax.faces.detect import CenterFaceDetector, Detection
from tests.data.people import ASTRONAUT, MeanRecognizer, make_people, run


def write_odd_photos(root: pathlib.Path) -> dict[str, str]:
    """One photo of every odd kind; file name -> the reason that leaves it out."""
    root.mkdir()
    ASTRONAUT.save(root / "plain.jpg")
    ASTRONAUT.convert("L").save(root / "gray.png")
    ASTRONAUT.convert("CMYK").save(root / "cmyk.jpg")
    ASTRONAUT.convert("P").save(root / "palette.gif")
    clear = ASTRONAUT.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").point(lambda level: max(level, 190)))
    clear.save(root / "rgba.png")
    deep = np.asarray(ASTRONAUT.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(root / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 to see it upright
    ASTRONAUT.transpose(Image.Transpose.ROTATE_90).save(root / "turned.jpg", exif=exif)
    whole = (root / "plain.jpg").read_bytes()
    (root / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "zero.jpg").write_bytes(b"")
    (root / "text.png").write_text("no picture")
    ASTRONAUT.resize((20, 20)).save(root / "tiny.png")
    ASTRONAUT.resize((40, 40)).save(root / "small_face.png")
    Image.new("RGB", (200, 200), "teal").save(root / "faceless.png")
    two = Image.new("RGB", (512, 256))
    two.paste(ASTRONAUT, (0, 0))
    two.paste(ASTRONAUT, (256, 0))
    two.save(root / "twins.png")
    (root / "notes.txt").write_text("not a photo")
    (root / ".hidden.jpg").write_bytes(whole)
    return {
        "truncated.jpg": prepare.CORRUPT,
        "zero.jpg": prepare.CORRUPT,
        "text.png": prepare.CORRUPT,
        "tiny.png": prepare.TINY_PHOTO,
        "small_face.png": prepare.TINY_FACE,
        "faceless.png": prepare.NO_FACE,
        "twins.png": prepare.SEVERAL_FACES,
    }


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """(summary, records, reasons) of the odd photos."""
    root = tmp_path_factory.mktemp("odd")
    reasons = write_odd_photos(root / "photos")
    summary = run(photos.list_photos([root / "photos"]), root / "out")
    return summary, records.open_records(root / "out", "train"), reasons


def test_what_cannot_be_used_is_counted_with_its_reason(odd):
    summary, _, reasons = odd
    found = {
        name.removeprefix("photos/"): reason
        for reason, names in summary["skipped"].items()
        for name in names
    }
    assert found == reasons


def test_what_can_be_read_shows_the_same_face(odd):
    _, source, _ = odd
    rows = {pathlib.PurePath(row["photo"]).stem: row for row in source}
    usable = {"plain", "gray", "cmyk", "palette", "rgba", "deep", "turned"}
    assert set(rows) == usable
    plain = cv2.cvtColor(rows["plain"]["image"], cv2.COLOR_RGB2GRAY).astype(float)
    for name, row in rows.items():
        gray = cv2.cvtColor(row["image"], cv2.COLOR_RGB2GRAY).astype(float)
        assert np.corrcoef(gray.ravel(), plain.ravel())[0, 1] > 0.85, name
        assert abs(gray.mean() - plain.mean()) < 50, name


def test_a_record_leads_back_to_its_photo(odd):
    _, source, _ = odd
    row = next(row for row in source if row["photo"].endswith("plain.jpg"))
    np.testing.assert_allclose(row["landmarks"], align.template(64), atol=4)
    back = align.transform_points(align.invert(row["matrix"]), row["landmarks"])
    (face,) = CenterFaceDetector()(np.asarray(ASTRONAUT))
    np.testing.assert_allclose(back, face.landmarks, atol=4)


def test_crops_have_the_size_and_embeddings_are_of_the_crop(odd):
    _, source, _ = odd
    row = source[0]
    assert row["image"].shape == (64, 64, 3)
    np.testing.assert_allclose(
        row["embedding"], MeanRecognizer()([row["image"]], None)[0], atol=0.01
    )


def test_only_broken_photos_are_an_error_that_counts_them(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(3):
        (tmp_path / "photos" / f"{index}.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="'corrupt': 3"):
        run(photos.list_photos([tmp_path / "photos"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def detection(x: float, y: float, side: float) -> Detection:
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Detection(box, 0.9, np.zeros((5, 2), np.float32))


def test_the_subject_is_large_and_central():
    middle, corner = detection(100, 100, 60), detection(30, 30, 70)
    assert prepare.choose_subject([corner, middle], 200, 200, False) is middle
    assert prepare.choose_subject([middle, corner], 200, 200, True) is corner


def test_people_and_splits_come_from_folders_and_table(tmp_path):
    make_people(tmp_path / "one", 3, num_photos=2)
    make_people(tmp_path / "two", 2)  # the same names: the same people
    found = photos.list_photos([tmp_path / "one", tmp_path / "two"])
    table = tmp_path / "splits.csv"
    table.write_text("person,images,split\nperson00,2,test\nnobody,1,train\n")
    splits = photos.read_splits(table)
    summary = run(found, tmp_path / "out", splits=splits)
    assert summary["records"] == {"train": 5, "test": 3}
    assert summary["people"] == {"train": 2, "test": 1}
    train, test = (records.open_records(tmp_path / "out", s) for s in ("train", "test"))
    assert {row["person"] for row in test} == {"person00"}
    assert sorted(set(train.person_ids) | set(test.person_ids)) == [0, 1, 2]
    assert test[0]["photo"] == "one/person00/0.jpg"


def test_a_share_of_the_train_people_is_held_out_by_name():
    people = [f"p{index}" for index in range(2000)]
    given = {person: "test" for person in people[:500]}
    splits = prepare.choose_splits(people, given)
    assert all(splits[person] == "test" for person in people[:500])
    held_out = {p for p, split in splits.items() if split == "validation"}
    assert len(held_out) == pytest.approx(0.04 * 1500, rel=0.3)
    # More people, or another order, move nobody.
    again = prepare.choose_splits([*reversed(people), "newcomer"], given)
    assert {p for p, split in again.items() if split == "validation"} == held_out
    assert set(prepare.choose_splits(people[:10], {}).values()) == {"train"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("name,split\na,train\n", "columns"),
        ("person,split\na,dev\n", "'dev'"),
        ("", "None"),
    ],
)
def test_a_wrong_split_table_is_refused(tmp_path, text, message):
    table = tmp_path / "splits.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message):
        photos.read_splits(table)


def test_wrong_folders_are_refused(tmp_path):
    (tmp_path / "a" / "same").mkdir(parents=True)
    (tmp_path / "b" / "same").mkdir(parents=True)
    with pytest.raises(ValueError, match="not a folder"):
        photos.list_photos([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="has no photos"):
        photos.list_photos([tmp_path / "a"])
    with pytest.raises(ValueError, match="same name"):
        photos.list_photos([tmp_path / "a" / "same", tmp_path / "b" / "same"])


def test_after_kill_nine_a_rerun_goes_on(tmp_path, monkeypatch):
    make_people(tmp_path / "photos", 8)
    script = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parents[2])!r})
from id2face_jax.data import photos, prepare

class Recognizer:
    name, dim, threshold = "mean", 3, 0.9

prepare.CHUNK = 2
seen, find = [], prepare._find_face
def counted(photo, *args):
    seen.append(photo)
    if len(seen) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return find(photo, *args)
prepare._find_face = counted
root = pathlib.Path({str(tmp_path)!r})
prepare.prepare(photos.list_photos([root / "photos"]), root / "out", Recognizer(),
                crop=prepare.Crop(64), num_workers=1, splits={{}}, largest=False)
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert not (tmp_path / "out").exists()
    staging = tmp_path / "out.partial"
    assert len(list(staging.glob("*.faces"))) == 2

    monkeypatch.setattr(prepare, "CHUNK", 2)
    seen, find = [], prepare._find_face

    def counted(photo, *args):
        seen.append(photo.name)
        return find(photo, *args)

    monkeypatch.setattr(prepare, "_find_face", counted)
    found = photos.list_photos([tmp_path / "photos"])
    summary = run(found, tmp_path / "out")
    assert sorted(seen) == [photo.name for photo in found[4:]]
    assert summary["records"] == {"train": 8}
    assert not staging.exists()

    seen.clear()
    assert run(found, tmp_path / "out") == summary  # done: nothing to do
    assert not seen
    with pytest.raises(ValueError, match="delete it or choose another --out"):
        run(found, tmp_path / "out", crop=prepare.Crop(32))


def rows_of(out):
    return [dict(row) for row in records.open_records(out, "train")]


def test_parts_put_together_are_the_whole(tmp_path, monkeypatch):
    """Three parts, one of them on a machine without the others' files."""
    make_people(tmp_path / "photos", 7)
    found = photos.list_photos([tmp_path / "photos"])
    monkeypatch.setattr(prepare, "CHUNK", 2)
    options = {"crop": prepare.Crop(64), "num_workers": 1, "largest": False}
    whole = run(found, tmp_path / "whole")
    shared, alone = tmp_path / "shared", tmp_path / "alone"
    counts = [
        prepare.share(found, out, MeanRecognizer(), (index, 3), **options)
        for index, out in enumerate([shared, alone, shared])
    ]
    assert counts == [3, 2, 2] and not shared.exists()  # chunks of 2, 2, 2 and 1
    for file in (tmp_path / "alone.partial").iterdir():
        file.rename(tmp_path / "shared.partial" / file.name)
    # Nothing is left to find.
    monkeypatch.setattr(prepare, "_find_face", None)
    assert run(found, shared) == whole
    for one, other in zip(rows_of(shared), rows_of(tmp_path / "whole"), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name])


def test_the_verb_prepares_and_tells(tmp_path, monkeypatch, capsys):
    make_people(tmp_path / "photos", 2)
    (tmp_path / "photos" / "person00" / "broken.jpg").write_bytes(b"x")
    monkeypatch.setattr(embed, "make_recognizer", lambda spec: MeanRecognizer())
    out = tmp_path / "out"
    argv = ["prepare", str(tmp_path / "photos"), "--out", str(out), "--size", "64"]
    assert cli.main([*argv, "--shard", "2/2"]) == 0
    assert "0 of 3 photos, part 2/2" in capsys.readouterr().out
    assert cli.main([*argv, "--shard", "1/2"]) == 0 and not out.exists()
    assert cli.main([*argv, "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "2 faces of 2 people" in told and "1 corrupt" in told
    assert json.loads((out / records.SUMMARY).read_text())["records"] == {"train": 2}


@pytest.mark.parametrize(
    "extra, message",
    [
        ([], "give either photo folders or --tfds"),
        (["here", "--tfds", "lfw"], "give either"),
        (["here", "--size", "100"], "multiple of 16"),
        (["here", "--workers", "0"], "use 1 or more"),
        (["here", "--shard", "0/4"], "none of 4"),
    ],
)
def test_the_verb_refuses_what_makes_no_sense(tmp_path, capsys, extra, message):
    assert cli.main(["prepare", "--out", str(tmp_path / "out"), *extra]) == 1
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []
