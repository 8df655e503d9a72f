"""Odd and hostile files through the front door: each is right, or refused and told."""

import errno
import io
import json
import os
import pathlib
import resource
import tarfile

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from id2face_jax import atomic, cli
from id2face_jax.anonymize.batch import archives, runner
from id2face_jax.anonymize.batch.options import FileOptions
from id2face_jax.anonymize.batch.people import People
from tests.anonymize import planted
from tests.anonymize.folders import make
from tests.anonymize.io.test_images import animated, png_of, stored_turned

FACE = planted.picture(1)


def encoded(kind, image=None, **options):
    buffer = io.BytesIO()
    (image or PIL.Image.fromarray(FACE)).save(buffer, kind, **options)
    return buffer.getvalue()


def converted(kind, mode):
    return encoded(kind, PIL.Image.fromarray(FACE).convert(mode))


def turned(orientation):
    """A JPEG whose stored pixels are turned by the inverse of an EXIF orientation."""
    image, exif = stored_turned(FACE, orientation)
    return encoded("JPEG", image, exif=exif, quality=95)


def sixteen_bits():
    return cv2.imencode(".png", FACE[..., ::-1].astype(np.uint16) * 257)[1].tobytes()


def opaque():
    return encoded("PNG", PIL.Image.fromarray(FACE).convert("RGBA"))


def wide():
    return encoded("PNG", PIL.Image.new("RGB", (20_000, 40), "gray"))


# What is to come of it: "" is a new face, else why it is refused.
ODD = {
    "zero.jpg": (lambda: b"", "is empty"),
    "text.jpg": (lambda: b"no picture at all", "not a picture"),
    "truncated.jpg": (lambda: encoded("JPEG")[:-300], "cannot be read"),
    "sixteen.png": (sixteen_bits, ""),
    "cmyk.jpg": (lambda: converted("JPEG", "CMYK"), ""),
    "gray.png": (lambda: converted("PNG", "L"), ""),
    "gray-alpha.png": (lambda: converted("PNG", "LA"), ""),
    "alpha.png": (opaque, ""),
    "palette.png": (lambda: converted("PNG", "P"), ""),
    "still.gif": (lambda: converted("GIF", "P"), ""),
    "moves.gif": (lambda: animated(FACE, "GIF"), "2 frames"),
    "moves.webp": (lambda: animated(FACE, "WEBP"), "2 frames"),
    "wide.png": (wide, "no face was found"),
    "bomb.png": (lambda: png_of(60_000, 60_000), "million pixels"),
    "UPPER.JPG": (lambda: encoded("JPEG"), ""),
    "png-in-truth.jpg": (lambda: encoded("PNG"), ""),
    "new\nline.png": (lambda: encoded("PNG"), ""),
    os.fsdecode(b"caf\xe9.png"): (lambda: encoded("PNG"), ""),
    "x" * 200 + ".png": (lambda: encoded("PNG"), ""),
    **{f"exif{i}.jpg": (lambda i=i: turned(i), "") for i in range(1, 9)},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    planted.plant(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    return tmp_path


def write_odd(names):
    for name in names:
        pathlib.Path("photos", name).write_bytes(ODD[name][0]())


def records(path="out/report.json"):
    found = json.loads(pathlib.Path(path).read_text())["files"]
    return {record["input"].removeprefix("photos/"): record for record in found}


def is_new(name):
    """Whether the result shows another face, upright, where the face was."""
    with PIL.Image.open(pathlib.Path("out", name)) as image:
        after = np.asarray(image.convert("RGB"))
    before = FACE
    if name.startswith("gray"):
        before = np.asarray(PIL.Image.fromarray(FACE).convert("L").convert("RGB"))
    same, face = np.s_[150:190, 5:40], np.s_[60:120, 70:130]
    differences = np.abs(before.astype(int) - after)
    return after.shape == FACE.shape and (
        differences[face].mean() > 40 and differences[same].mean() < 25
    )


def test_each_odd_picture_is_right_or_refused_and_the_rest_goes_on(here, capsys):
    write_odd(ODD)
    os.mkfifo("photos/pipe.jpg")
    pathlib.Path("photos/self.jpg").symlink_to("self.jpg")
    pathlib.Path("photos/zeros.jpg").symlink_to("/dev/zero")
    pathlib.Path("photos/folder.jpg").mkdir()
    pathlib.Path("photos/folder.jpg/again").symlink_to(here / "photos")
    assert cli.main(["anonymize", "photos", "-o", "out"]) == 3
    expected = {name: message for name, (_, message) in ODD.items()}
    expected |= {"pipe.jpg": "no file", "zeros.jpg": "no file", "self.jpg": "self.jpg"}
    found = records()
    assert set(found) == set(expected)
    told = capsys.readouterr().err
    for name, message in expected.items():
        record, output = found[name], pathlib.Path("out", name)
        if message:
            assert record["state"] == "refused" and not output.exists(), name
            assert message in record["message"] and message in told
        else:
            assert record["state"] == "anonymized" and is_new(name), name
    hidden = [path.name for path in pathlib.Path("out").rglob(".*")]
    assert hidden == [".report.json.journal"]


def test_same_name_twice_is_refused_for_both(here):
    write_odd(["alpha.png", "UPPER.JPG"])
    pathlib.Path("other").mkdir()
    pathlib.Path("other/alpha.png").write_bytes(encoded("PNG"))
    assert cli.main(["anonymize", "photos", "other", "-o", "out"]) == 3
    found = {name: record["state"] for name, record in records().items()}
    assert found.pop("UPPER.JPG") == "anonymized"
    assert set(found.values()) == {"refused"} and len(found) == 2
    assert not pathlib.Path("out/alpha.png").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_output_that_cannot_be_written_refuses_one_file(here, monkeypatch, code):
    write_odd(["alpha.png", "UPPER.JPG"])
    real = atomic.write_part

    def failing(path, content):
        if path.name == "alpha.png":
            raise OSError(code, os.strerror(code))
        real(path, content)

    monkeypatch.setattr(runner, "write_part", failing)
    assert cli.main(["anonymize", "photos", "-o", "out"]) == 3
    assert os.strerror(code) in records()["alpha.png"]["message"]
    assert is_new("UPPER.JPG") and not pathlib.Path("out/alpha.png").exists()


def test_full_disk_leaves_no_half_a_file(here):
    write_odd(["alpha.png", "UPPER.JPG", "gray.png"])
    cli.main(["anonymize", "photos", "-o", "whole"])
    sizes = [path.stat().st_size for path in pathlib.Path("whole").glob("*.*[gG]")]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this: some results fit, others do not.
    limit = (min(sizes) + max(sizes)) // 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        assert cli.main(["anonymize", "photos", "-o", "out"]) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    found = records()
    assert {r["state"] for r in found.values()} == {"refused", "anonymized"}
    for name, record in found.items():
        is_there = pathlib.Path("out", name).exists()
        assert is_there == (record["state"] == "anonymized")
        assert is_there or "too large" in record["message"]
    hidden = [path.name for path in pathlib.Path("out").rglob(".*")]
    assert hidden == [".report.json.journal"]


def test_output_under_a_file_is_an_error_or_refuses_what_would_go_there(here, capsys):
    write_odd(["alpha.png"])
    pathlib.Path("photos/sub").mkdir()
    pathlib.Path("photos/sub/a.png").write_bytes(encoded("PNG"))
    pathlib.Path("out").mkdir()
    pathlib.Path("out/sub").write_bytes(b"a file")
    assert cli.main(["anonymize", "photos", "-o", "out"]) == 3
    assert records()["sub/a.png"]["state"] == "refused" and is_new("alpha.png")
    assert cli.main(["anonymize", "photos", "-o", "out/sub/more"]) == 1
    assert "Not a directory" in capsys.readouterr().err


def test_folder_that_cannot_be_opened_is_refused_and_the_rest_goes_on(
    here, monkeypatch
):
    write_odd(["alpha.png"])
    pathlib.Path("photos/sub").mkdir()
    real = pathlib.Path.iterdir

    def iterdir(self):
        if self.name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(self)

    monkeypatch.setattr(pathlib.Path, "iterdir", iterdir)
    assert cli.main(["anonymize", "photos", "-o", "out"]) == 3
    assert "cannot be opened" in records()["sub"]["message"] and is_new("alpha.png")


def archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as result:
        for name, content in (
            ("1.png", encoded("PNG")),
            ("1.json", b'{"caption": "a"}'),
            ("2.jpg", encoded("JPEG")),
            ("2.cls", b"4"),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            result.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_archive_never_crashes_and_never_shows_the_source(tmp_path, data):
    content = bytearray(ARCHIVE)
    # Headers are where it hurts: half of the damage goes there.
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.sampled_from([0, *HEADERS]))
        length = len(content) if start == 0 else 512
        place = min(start + data.draw(st.integers(0, length - 1)), len(content) - 1)
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(len(content) // 2, len(content)))]
    (tmp_path / "a.tar").write_bytes(content)
    part = tmp_path / "part"
    try:
        archives.anonymize(make(), tmp_path / "a.tar", part, FileOptions(), People())
    except runner.pictures.ERRORS:
        return
    for picture in (encoded("PNG"), encoded("JPEG")):
        assert picture[200:1200] not in part.read_bytes()


ARCHIVE = archive()
HEADERS = [
    info.offset for info in tarfile.open(fileobj=io.BytesIO(ARCHIVE)).getmembers()
]
