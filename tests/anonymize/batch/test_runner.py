"""Runs over folders: every file once, whole, recorded, and never untouched."""

import os
import pathlib
import time

import numpy as np
import PIL.Image
import pytest

from id2face_jax.anonymize.batch import discovery, pictures, runner, state
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from id2face_jax.anonymize.io import images
from tests.anonymize import planted
from tests.anonymize.folders import contents, make, run, save, states


def test_tree_is_mirrored_and_every_face_is_new(photos):
    records = run()
    assert states(records) == dict.fromkeys(
        ("a.png", "b.jpg", "sub/a.png"), "anonymized"
    )
    assert set(contents()) == {"a.png", "b.jpg", "sub/a.png"}
    for name in records:
        before = np.asarray(PIL.Image.open(photos / name)).astype(int)
        after = np.asarray(PIL.Image.open(pathlib.Path("out") / name)).astype(int)
        assert before.shape == after.shape
        assert np.abs(before - after)[60:120, 70:130].mean() > 40
    # The corner is far from the face: a PNG keeps it bit for bit.
    corner = np.asarray(PIL.Image.open("out/a.png"))[-10:, -10:]
    np.testing.assert_array_equal(corner, planted.picture(0)[-10:, -10:])


SPOILED = {
    "empty.jpg": (b"", "is empty"),
    "text.png": (b"no picture", "not a picture"),
    "cut.jpg": (None, "cannot be read"),
}


def spoil(photos):
    for name, (content, _) in SPOILED.items():
        if content is None:
            content = (photos / "b.jpg").read_bytes()[:2000]
        (photos / name).write_bytes(content)


def test_spoiled_files_are_refused_and_the_rest_goes_on(photos):
    spoil(photos)
    records = run()
    for name, (_, message) in SPOILED.items():
        assert records[name].state == "refused" and message in records[name].message
    assert sum(state == "anonymized" for state in states(records).values()) == 3
    assert set(contents()) == {"a.png", "b.jpg", "sub/a.png"}


def test_pass_through_generator_writes_no_original(photos):
    records = run(make(planted.pass_through))
    assert set(states(records).values()) == {"fallback"}
    for name in records:
        after = np.asarray(PIL.Image.open(pathlib.Path("out") / name)).astype(int)
        before = np.asarray(PIL.Image.open(photos / name)).astype(int)
        assert np.abs(before - after)[60:120, 70:130].mean() > 40
    records = run(make(planted.pass_through, on_failure="refuse"), out="none")
    assert set(states(records).values()) == {"refused"} and not contents("none")
    assert records["a.png"].message == (
        "1 of 1 faces could not be hidden: 78 x 83 pixels at (65, 59), which planted "
        "still knows (0.99, allowed below 0.60)"
    )


def test_results_do_not_depend_on_batches_or_other_files(photos):
    run()
    together = contents()
    run(out="single", batch_size=1)
    assert contents("single") == together
    (photos / "a.png").rename(photos / "z.png")
    save(photos / "c.png", planted.picture(9))
    run(out="renamed")
    renamed = contents("renamed")
    assert renamed["z.png"] == together["a.png"]
    assert renamed["b.jpg"] == together["b.jpg"]


class Killed(BaseException):
    """Ends the process wherever it stands; nobody catches it."""


@pytest.mark.parametrize("call", range(9))
def test_killed_run_continues_to_the_same_bytes(photos, monkeypatch, call):
    spoil(photos)
    run(out="whole")
    calls = []

    def dying(function):
        def wrapped(*args):
            calls.append(function)
            if len(calls) - 1 == call:
                raise Killed
            return function(*args)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(state.os, "replace", dying(os.replace))
        patch.setattr(state.os, "fsync", dying(os.fsync))
        with pytest.raises(Killed):
            run(batch_size=2)
    whole = contents("whole")
    for name, content in contents().items():
        hidden = pathlib.Path(name).name.startswith(".")  # parts and the journal
        assert hidden or content == whole[name]
    records = run(batch_size=2)
    assert contents() == whole and len(records) == 6


def test_finished_files_are_skipped_and_stay_in_the_report(photos):
    run()
    before = {
        path: path.stat().st_mtime_ns for path in pathlib.Path("out").rglob("*.png")
    }
    save(photos / "new.png", planted.picture(5))
    anonymizer = make()
    records = run(anonymizer)
    assert sum(len(r) for r in anonymizer.tools.generator.requests) == 1
    assert len(records) == 4 and set(states(records).values()) == {"anonymized"}
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    run(anonymizer, overwrite=True)
    assert sum(len(r) for r in anonymizer.tools.generator.requests) == 5


def test_names_as_long_as_can_be_are_done(photos):
    for number in range(245, 256):
        save(photos / ("n" * (number - 4) + ".png"), planted.picture(number))
    records = run()
    assert len(records) == 14 and set(states(records).values()) == {"anonymized"}


def test_changed_source_is_done_again(photos):
    first = run()["a.png"]
    time.sleep(0.02)
    save(photos / "a.png", planted.picture(7))
    assert run()["a.png"].output_sha256 != first.output_sha256


def test_file_of_somebody_else_is_not_overwritten(photos):
    save(pathlib.Path("out/a.png"), planted.picture(3))
    before = pathlib.Path("out/a.png").read_bytes()
    records = run()
    assert records["a.png"].state == "refused"
    assert "--overwrite would replace it" in records["a.png"].message
    assert pathlib.Path("out/a.png").read_bytes() == before
    assert run(overwrite=True)["a.png"].state == "anonymized"


def test_refused_file_leaves_no_result_of_an_earlier_run(photos):
    run()
    records = run(make(planted.pass_through, on_failure="refuse"), overwrite=True)
    assert set(states(records).values()) == {"refused"} and not contents()


@pytest.mark.parametrize(
    ("policy", "state", "is_written"),
    [
        ("refuse", "refused", False),
        ("skip", "no_face", False),
        ("copy", "no_face", True),
    ],
)
def test_no_face(photos, policy, state, is_written):
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.0)})
    save(photos / "wall.jpg", np.full((50, 70, 3), 90, np.uint8), exif=exif)
    record = run(on_no_face=policy)["wall.jpg"]
    assert record.state == state and "no face was found" in record.message
    assert ("wall.jpg" in contents()) == is_written
    if is_written:  # written anew, not copied: the place is gone
        with PIL.Image.open("out/wall.jpg") as image:
            assert not image.getexif()


def test_pictures_whose_faces_all_stay_are_no_results(photos):
    people = People(chooser=lambda faces: [False] * len(faces))
    records = run(people=people)
    assert set(states(records).values()) == {"refused"} and not contents()
    assert "are to be kept" in records["a.png"].message


def test_face_in_the_alpha_channel_is_refused(photos):
    # PlantedDetector sees a face in anything of this size, so also in the alpha.
    alpha = np.linspace(1, 254, 220).astype(np.uint8)[None].repeat(200, 0)
    save(photos / "alpha.png", np.dstack([planted.picture(1), alpha]))
    record = run()["alpha.png"]
    assert record.state == "refused" and "transparency" in record.message


def test_orientation_and_metadata_through_a_run(photos):
    exif = PIL.Image.Exif()
    exif[271], exif[274] = "Camera", 6
    stored = np.ascontiguousarray(np.rot90(planted.picture(2)))
    save(photos / "turned.jpg", stored, exif=exif, quality=95)
    record = run(metadata="safe")["turned.jpg"]
    assert record.state == "anonymized"
    with PIL.Image.open("out/turned.jpg") as image:
        assert image.size == (220, 200)
        assert image.getexif()[271] == "Camera" and 274 not in image.getexif()


def test_full_disk_refuses_one_file_and_goes_on(photos, monkeypatch):
    def full(source, target):
        if str(target).endswith("b.jpg"):
            raise OSError(28, "No space left on device")
        return os_replace(source, target)

    os_replace = os.replace
    monkeypatch.setattr(state.os, "replace", full)
    records = run()
    assert records["b.jpg"].state == "refused"
    assert "No space left" in records["b.jpg"].message
    assert set(contents()) == {"a.png", "sub/a.png"}


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, ValueError])
def test_one_picture_that_breaks_the_models_stops_no_other(photos, error):
    def fragile(requests, row):
        if len({bytes(d) for d in requests.crops}) > 1 or requests.seeds[row] == bad[0]:
            raise error("out of memory")
        return planted.other_face(requests, row)

    anonymizer = make()
    run(anonymizer, out="first", batch_size=1)
    bad = [anonymizer.tools.generator.requests[1].seeds[0]]  # b.jpg comes second
    records = run(make(fragile))
    assert states(records) == {
        "a.png": "anonymized",
        "b.jpg": "refused",
        "sub/a.png": "anonymized",
    }


def test_dry_run_shows_boxes_but_no_face(photos):
    jobs = discovery.for_dry_run(discovery.plan(["photos/a.png"], "out"))
    ledger = state.Ledger("out/dry-run.json")
    anonymizer = make(max_attempts=0)
    runner.run(anonymizer, jobs, ledger, FileOptions(dry_run=True), People(), True)
    ledger.close()
    assert not anonymizer.tools.generator.requests
    drawn = np.asarray(PIL.Image.open("out/a.png.boxes.png")).astype(int)
    assert np.abs(drawn - planted.picture(0))[60:120, 70:130].mean() > 40
    assert np.any(np.all(drawn == (230, 60, 40), axis=-1))
    # A real run takes neither the preview for a source nor for a result.
    assert set(discovery.plan(["out"], "more")) == set()
    assert run()["a.png"].state == "anonymized"


@pytest.mark.parametrize(
    "wrong", [{"on_no_face": "write"}, {"metadata": "most"}, {"batch_size": 0}]
)
def test_choices_that_make_no_sense_are_errors(wrong):
    with pytest.raises(ValueError):
        FileOptions(**wrong)


def test_pictures_are_read_batch_by_batch(photos, monkeypatch):
    alive, most = [], []
    read = images.read

    def counted(path):
        alive.append(path)
        most.append(len(alive))
        return read(path)

    monkeypatch.setattr(images, "read", counted)
    anonymized = pictures._anonymized

    def worked(anonymizer, batch, *args):
        del alive[: len(batch)]
        return anonymized(anonymizer, batch, *args)

    monkeypatch.setattr(pictures, "_anonymized", worked)
    for seed in range(3, 12):
        save(photos / f"{seed}.png", planted.picture(seed))
    run(batch_size=4)
    assert max(most) == 4
