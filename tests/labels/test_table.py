"""Tables stay behind unless asked for; what tells the original again leaves labels."""

import json
import pathlib

import pytest

TABLE = (
    "\ufeffname;url;image\r\n"
    'Ann "A.";https://x.org/1.png;img/a.png\r\n'
    '"Bob;\r\nB.";http://x.org/2.png;img/b.png\r\n'
    "Cy;;img/c.png\r\n"
)


@pytest.fixture
def table(scene):
    for seed, name in enumerate("abc"):
        scene.picture(f"set/img/{name}.png", seed)
    scene.text("set/faces.csv", TABLE.replace('Ann "A."', "Ann"))
    return scene


CSV = ("--format", "csv")


def test_table_keeps_pictures_and_what_is_named(table, capsys):
    assert table.run(*CSV, "--columns", "name", "--columns", "url") == 0
    new = pathlib.Path("out/faces.csv").read_bytes().decode()
    assert new == (
        "\ufeffname;url;image\r\nAnn;;img/a.png\n"
        '"Bob;\r\nB.";;img/b.png\nCy;;img/c.png\r\n'
    )
    assert table.run(*CSV, out="bare") == 0
    bare = pathlib.Path("bare/faces.csv").read_text()
    assert bare == "image\nimg/a.png\nimg/b.png\nimg/c.png\n"
    told = capsys.readouterr().out
    assert "dropped from the labels: field name, field url" in told
    everything = (*CSV, "--columns", "name", "--columns", "url", "--metadata", "all")
    assert table.run(*everything, out="all") == 0
    assert (
        pathlib.Path("all/faces.csv").read_bytes()
        == pathlib.Path("set/faces.csv").read_bytes()
    )


def test_table_beside_photos_is_left_out_unless_asked_for(table, capsys):
    table.text("set/list.csv", 'name,diagnosis\nAnn "A" B,flu\n' + "x" * 200_000)
    assert table.run() == 0
    assert set(table.contents()) == {f"img/{name}.png" for name in "abc"}
    assert "2 files (set/faces.csv, set/list.csv)" in capsys.readouterr().out
    assert table.run("--columns", "name") == 2
    assert table.run(source="set/faces.csv") == 2
    assert "--format csv" in capsys.readouterr().err


def test_table_loses_rows_of_refused_and_missing_pictures(table):
    table.wall("set/img/a.png")
    pathlib.Path("set/img/b.png").unlink()
    assert table.run(*CSV, "--columns", "name") == 3
    new = pathlib.Path("out/faces.csv").read_bytes().decode()
    assert new == "\ufeffname;image\nCy;img/c.png\n"
    (sidecar,) = table.report()["sidecars"]
    assert sidecar["dropped"] == ["img/a.png", "img/b.png", "field url"]


def test_table_as_the_input_takes_the_pictures_that_it_names(table):
    here = pathlib.Path("set").resolve()
    table.text("set/part.tsv", f"1\t{here}/img/a.png\tx\n2\tb.png\ty\n")
    assert table.run(*CSV, "--columns", "3", source="set/part.tsv") == 0
    assert set(table.contents()) == {"part.tsv", "img/a.png", "img/b.png"}
    text = pathlib.Path("out/part.tsv").read_text()
    assert text == "img/a.png\tx\nb.png\ty\n"


def test_table_of_nothing_is_wrong_usage(table, capsys):
    table.text("set/other.csv", "a,b\n1,2\n")
    assert table.run(*CSV, source="set/other.csv") == 2
    assert table.run(*CSV, source="set/img") == 2
    assert "is no dataset of the format csv" in capsys.readouterr().err


# What tells the original again

VECTOR = [0.25 * i for i in range(128)]


def test_embeddings_and_hashes_of_originals_are_dropped_and_said(scene, capsys):
    scene.picture("set/a.png")
    face = {"bbox": [1, 2, 3, 4], "keypoints": [1] * 51, "image_id": 1}
    hidden = {"vector": VECTOR, "more": {"sha": "0" * 64, "face_embedding": "abc"}}
    image = {"id": 1, "file_name": "a.png", "crc": "f" * 32, "uuid": "f" * 32}
    content = {"images": [image], "annotations": [face | hidden]}
    scene.text("set/annotations/x.json", json.dumps(content))
    assert scene.run("--metadata", "all") == 0
    new = json.loads(pathlib.Path("out/annotations/x.json").read_text())
    assert new["annotations"] == [face | {"more": {}}]
    assert new["images"] == [{"id": 1, "file_name": "a.png", "uuid": "f" * 32}]
    told = capsys.readouterr().out
    for name in ("crc", "face_embedding", "sha", "vector"):
        assert f"field {name}" in told
    rows = f'file,code,person\na.png,"{VECTOR}",p1\n'
    scene.text("set/t.csv", rows)
    named = ("--columns", "code", "--columns", "person")
    assert scene.run("--format", "csv", *named, out="table") == 0
    text = pathlib.Path("table/t.csv").read_text()
    assert text == "file,code,person\na.png,,p1\n"
    assert "field code" in capsys.readouterr().out


def test_a_torn_table_shows_an_embedding_in_no_cell_and_no_report(scene):
    """Neither in a row that lost its beginning, nor as the name of a column."""
    vector = " ".join(f"0.{number}" for number in range(100, 140))
    rows = [
        f"file,person,embed\xff {vector}",
        "1.png,ann",
        f"0.5 {vector}",
        "2.png,ben",
    ]
    scene.picture("set/1.png", 1)
    scene.picture("set/2.png", 2)
    scene.text("set/a.csv", "\n".join(rows) + "\n")
    columns = ("--format", "csv", "--columns", "person", "--columns", "embedding")
    assert scene.run(*columns) == 0
    assert pathlib.Path("out/a.csv").read_text().splitlines()[1:] == [
        *("1.png,ann", '""', "2.png,ben")
    ]
    written = [p for p in pathlib.Path("out").rglob("*") if p.is_file()]
    assert not [p for p in written if vector[20:120].encode() in p.read_bytes()]
