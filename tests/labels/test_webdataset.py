"""WebDataset archives: samples whole and in order, or left out as a whole."""

import io
import json
import pathlib
import tarfile

import numpy as np
import PIL.Image
import pytest

from tests.anonymize import planted
from tests.labels.conftest import HEIGHT, WIDTH


def png(seed=0, face=True):
    pixels = planted.picture(seed)
    if not face:
        pixels = np.full((HEIGHT - 1, WIDTH, 3), 90, np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path, members):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content), 1234567890, "ann"
            archive.addfile(info, io.BytesIO(content))


def read_tar(path):
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}


MEMBERS = {
    "readme": b"three samples\n",
    "one/1.cls": b"7",
    "one/1.png": png(1),
    "one/1.json": json.dumps({"caption": "a", "url": "https://x.org/1"}).encode(),
    "one/2.left.png": png(2),
    "one/2.right.png": png(3),
    "one/2.txt": "zwei\n".encode("latin-1"),
    "one/3.png": png(4),
}


@pytest.fixture
def archive(scene):
    write_tar("set/a-000.tar", MEMBERS)
    return scene


def test_order_names_headers_and_other_members_stay(archive):
    assert archive.run() == 0
    new = read_tar("out/a-000.tar")
    assert list(new) == list(MEMBERS)
    for name, content in new.items():
        if name.endswith(".png"):
            old = PIL.Image.open(io.BytesIO(MEMBERS[name]))
            assert PIL.Image.open(io.BytesIO(content)).size == old.size
            assert content != MEMBERS[name]
        elif not name.endswith(".json"):
            assert content == MEMBERS[name]
    assert json.loads(new["one/1.json"]) == {"caption": "a"}
    with tarfile.open("out/a-000.tar") as result:
        assert {(i.mtime, i.uname) for i in result} == {(1234567890, "ann")}
    report = archive.report()
    assert report["totals"]["files"]["anonymized"] == 4
    assert [file["output"] for file in report["files"]][0] == "a-000.tar/one/1.png"


def test_json_is_byte_for_byte_where_all_metadata_stays(archive):
    assert archive.run("--metadata", "all") == 0
    assert read_tar("out/a-000.tar")["one/1.json"] == MEMBERS["one/1.json"]


def test_archive_beside_pictures_is_worked_on_and_other_files_are_named(scene, capsys):
    write_tar("set/a-000.tar", MEMBERS)
    scene.picture("set/preview.png", 7)
    for name in ("cam.mts", "old.3gp", "photo.jp2"):
        scene.text(f"set/{name}", "?")
    scene.text("set/._preview.png", b"\x00\x05\x16\x07\x00")
    assert scene.run() == 0
    assert set(scene.contents()) == {"a-000.tar", "preview.png"}
    assert (
        "3 files (set/cam.mts, set/old.3gp, set/photo.jp2)" in capsys.readouterr().out
    )
    assert scene.run("--strict") == 3
    assert scene.run("--format", "folder", out="flat") == 0
    assert set(scene.contents("flat")) == {"preview.png"}


def test_sparse_archive_is_refused_unread(archive):
    """Ten kilobytes that say that they are gigabytes."""
    info = tarfile.TarInfo("one/1.png")
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\x0000000001000\x00"
    header[483:495] = b"77777777777\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    pathlib.Path("set/a-000.tar").write_bytes(bytes(header) + bytes(512 + 1024))
    assert archive.run() == 3
    assert "one/1.png is sparse" in archive.report()["files"][0]["message"]


def test_what_tells_the_original_again_leaves_the_json(archive):
    entry = {"caption": "a", "sha256": "0" * 64, "faces": [{"v": [0.5] * 128}]}
    write_tar("set/a-000.tar", MEMBERS | {"one/1.json": json.dumps(entry).encode()})
    assert archive.run("--metadata", "all") == 0
    new = json.loads(read_tar("out/a-000.tar")["one/1.json"])
    assert new == {"caption": "a", "faces": [{}]}
    told = {f["output"]: f["message"] for f in archive.report()["files"]}
    assert told["a-000.tar/one/1.png"] == "its labels lost sha256, v"
    assert told["a-000.tar/one/3.png"] == ""


VECTOR = " ".join(f"{value:.4f}" for value in np.random.default_rng(0).normal(size=128))
ROWS = "\n".join(VECTOR.split()[i] + " " + VECTOR.split()[i + 1] for i in range(60))
MD5, SHA256 = "0123456789abcdef" * 2, "0123456789abcdef" * 4
LONG = "1" * 200_000  # takes no longer than a short one
POSE = "0 0.5 0.5 0.2 0.3" + " 0.25 0.75 2" * 17 + "\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("1.txt", VECTOR, None),
        ("1.txt", f"[{ROWS}]\n", None),
        ("1.txt", "\n".join(VECTOR.split()), None),
        ("1.txt", f"Ann\nembedding: {VECTOR}\nsmiles\n", "Ann\nsmiles\n"),
        ("1.txt", f"{MD5}  ann.jpg\nsmiles\n", "smiles\n"),
        ("1.txt", "smiles\nhttps://x.org/ann.jpg\n", "smiles\n"),
        ("1.csv", f"ann,{VECTOR.replace(' ', ',')}\nben,7\n", "ben,7\n"),
        ("1.txt", f"{LONG}x {LONG}\n{LONG} {VECTOR}\n", f"{LONG}x {LONG}\n"),
        ("1.sha256", SHA256, None),
        ("1.embedding.txt", "c2VjcmV0", None),
        ("1.json", f"[{VECTOR.replace(' ', ',')}]", None),
        ("1.xml", f"<a>\n<v>{VECTOR}</v>\n</a>", None),
        (
            "1.jsonl",
            f'{{"a": 1, "phash": "ff"}}\n{{"a": 2}}\n{{"v": "{MD5}"}}\n',
            '{"a": 1}\n{"a": 2}\n{}\n',
        ),
    ],
)
def test_what_tells_the_original_again_leaves_any_text(
    archive, name, content, expected
):
    write_tar("set/a-000.tar", {"1.png": png(1), name: content.encode()})
    assert archive.run() == 0
    new = read_tar("out/a-000.tar")
    wanted = {"1.png"} if expected is None else {"1.png", name}
    assert set(new) == wanted and new.get(name, b"").decode() == (expected or "")
    (file,) = json.loads(pathlib.Path("out/report.json").read_text())["files"]
    is_link = "https" in content  # goes without a word, as everywhere
    assert is_link or "its labels lost" in file["message"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.txt", POSE * 3),
        ("1.txt", "0 0.5 0.5 0.2 0.3\n" * 9),
        ("1.txt", "12 40 33 61\n" * 9),
        ("1.txt", f"id: {MD5}\nhash: brown potatoes, fried\n"),
        ("1.keypoints.json", str(list(range(51)))),
        ("1.shape.txt", "200 220"),
        ("1.cls", "7"),
        ("1.json", ""),
        ("1.jsonl", '{"a": 1}\r\n{"bbox": [1, 2, 3, 4]}'),
        ("1.sha256", "allowed"),
    ],
)
def test_other_texts_stay_byte_for_byte(archive, name, content):
    members = {"1.png": png(1), name: content.encode()}
    write_tar("set/a-000.tar", members)
    arguments = ["--allow-members", "sha256"] if content == "allowed" else []
    assert archive.run(*arguments) == 0
    assert read_tar("out/a-000.tar")[name] == content.encode()


def test_refused_sample_goes_as_a_whole(archive):
    write_tar("set/a-000.tar", MEMBERS | {"one/2.right.png": png(face=False)})
    assert archive.run() == 3
    assert list(read_tar("out/a-000.tar")) == [
        name for name in MEMBERS if not name.startswith("one/2")
    ]
    report = archive.report()
    assert report["sidecars"][0]["dropped"] == ["one/2"]
    refused = {f["output"]: f["message"] for f in report["files"] if not f["faces"]}
    refused |= {f["output"]: f["message"] for f in report["files"] if f["message"]}
    assert set(refused) == {"a-000.tar/one/2.left.png", "a-000.tar/one/2.right.png"}
    assert "another picture of its sample" in refused["a-000.tar/one/2.left.png"]


@pytest.mark.parametrize("name", ["one/2.npy", "one/2.jpeg2", "one/2.mp4", "one/2"])
def test_member_that_may_hold_the_picture_refuses_its_sample(archive, name):
    members = dict(list(MEMBERS.items())[:-1]) | {name: b"\x93NUMPY\1\0" + png(5)}
    write_tar("set/a-000.tar", members)
    assert archive.run() == 3
    assert name not in read_tar("out/a-000.tar")
    suffix = pathlib.PurePath(name).suffix.lstrip(".")
    (file,) = [f for f in archive.report()["files"] if "no text" in f["message"]][:1]
    assert f"--allow-members {suffix or 'none'} lets such pass" in file["message"]
    if suffix:
        assert archive.run("--overwrite", "--allow-members", suffix) == 0
        assert read_tar("out/a-000.tar")[name] == members[name]
        assert "refused" not in {f["state"] for f in archive.report()["files"]}


def test_link_in_an_archive_refuses_its_sample(archive):
    with tarfile.open("set/a-000.tar", "a") as result:
        info = tarfile.TarInfo("one/4.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/home/ann/face.png"
        result.addfile(info)
    assert archive.run() == 3
    assert list(read_tar("out/a-000.tar")) == list(MEMBERS)


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "header": lambda content: content.replace(b"one/3.png", b"one/X.png"),
    "text": lambda content: b"no archive",
    "empty": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_archive_is_refused_and_the_rest_goes_on(archive, damage):
    content = pathlib.Path("set/a-000.tar").read_bytes()
    pathlib.Path("set/b.tar").write_bytes(DAMAGES[damage](content))
    assert archive.run() == 3
    assert set(archive.contents()) == {"a-000.tar"}
    report = archive.report()
    (refused,) = [f for f in report["files"] if f["state"] == "refused"]
    assert refused["output"] == "b.tar" and "damaged" in refused["message"]


def test_archive_without_a_good_sample_is_not_written(archive):
    write_tar("set/a-000.tar", {"1.png": png(face=False), "1.cls": b"2"})
    assert archive.run() == 3
    assert not archive.contents()


def test_done_archives_are_skipped_and_stay_in_the_report(archive):
    assert archive.run() == 0
    before = archive.report()
    time = pathlib.Path("out/a-000.tar").stat().st_mtime_ns
    assert archive.run() == 0
    assert pathlib.Path("out/a-000.tar").stat().st_mtime_ns == time
    after = archive.report()
    assert before["files"] == after["files"]
    assert before["sidecars"] == after["sidecars"]
    # What was refused later leaves neither the archive nor its old records.
    pathlib.Path("set/a-000.tar").write_bytes(b"no archive")
    assert archive.run() == 3 and not archive.contents()
    assert [f["output"] for f in archive.report()["files"]] == ["a-000.tar"]


def test_archives_by_name_and_results_are_no_input(archive, capsys):
    write_tar("set/b.tar", {"1.png": png(8)})
    assert archive.run(source="set/b.tar") == 0
    assert set(archive.contents()) == {"b.tar"}
    assert archive.run(source="out", out="more") == 1
    assert "no photo in out" in capsys.readouterr().err


def test_memory_is_bounded_by_a_group(scene, monkeypatch):
    from id2face_jax.anonymize.batch import archives
    from id2face_jax.labels import webdataset

    alive, most = [], []
    read, done = webdataset._read, archives._done

    def counted(*args):
        alive.append(args)
        most.append(len(alive))
        return read(*args)

    def finished(*args):
        yield from done(*args)
        alive.clear()

    monkeypatch.setattr(webdataset, "_read", counted)
    monkeypatch.setattr(archives, "_done", finished)
    monkeypatch.setattr(archives, "_MAX_GROUP_BYTES", 5000)
    write_tar("set/a.tar", {f"{i:03}.txt": bytes([65]) * 1000 for i in range(60)})
    assert scene.run() == 0 and len(read_tar("out/a.tar")) == 60
    assert max(most) < 10
