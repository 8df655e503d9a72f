"""Datasets with labels: every box and row stays with its picture, or goes with it."""

import json
import pathlib

import pytest

from tests.labels.conftest import HEIGHT, WIDTH, is_new

# COCO


def coco_file(*images, **more):
    """A COCO file: for each (id, name) an image and a box."""
    entries = [
        {"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for i, name in images
    ]
    boxes = [
        {"id": 10 * i, "image_id": i, "category_id": 1, "bbox": [1.5, 2, 30, 1e-7]}
        for i, _ in images
    ]
    named = {"images": entries, "annotations": boxes, "categories": [{"id": 1}]}
    return json.dumps({"info": {"year": 2017}, **named, **more}, indent=2)


@pytest.fixture
def coco(scene):
    """set/val2017/{a,b}.png with labels, c.png without any."""
    for seed, name in enumerate("abc"):
        scene.picture(f"set/val2017/{name}.png", seed)
    text = coco_file((1, "a.png"), (2, "b.png"))
    scene.text("set/annotations/instances_val2017.json", text)
    scene.text("set/annotations/captions_val2017.json", coco_file((1, "a.png")))
    return scene


def test_coco_labels_are_byte_for_byte_when_nothing_is_refused(coco, capsys):
    assert coco.run() == 0
    for name in ("instances_val2017.json", "captions_val2017.json"):
        path = pathlib.Path("annotations") / name
        assert ("out" / path).read_bytes() == ("set" / path).read_bytes()
    for name in "abc":
        assert is_new(f"set/val2017/{name}.png", f"out/val2017/{name}.png")
    assert "labels: coco, 2 files" in capsys.readouterr().out
    assert {s["output"] for s in coco.report()["sidecars"]} == {
        "annotations/captions_val2017.json",
        "annotations/instances_val2017.json",
    }


def test_coco_loses_refused_and_missing_pictures_and_their_boxes(coco, capsys):
    coco.wall("set/val2017/a.png")
    text = coco_file((1, "a.png"), (2, "b.png"), (3, "gone.png"))
    coco.text("set/annotations/instances_val2017.json", text)
    assert coco.run() == 3
    assert "gone.png is named in annotations/instances" in capsys.readouterr().err
    new = json.loads(pathlib.Path("out/annotations/instances_val2017.json").read_text())
    expected = json.loads(text)
    expected["images"] = expected["images"][1:2]
    expected["annotations"] = expected["annotations"][1:2]
    assert new == expected
    (captions, instances) = coco.report()["sidecars"]
    assert captions["dropped"] == ["a.png"]
    assert instances["dropped"] == ["a.png", "gone.png"]
    # Without a face it may come, if the user says so; then its labels come back.
    coco.text("set/annotations/instances_val2017.json", coco_file((2, "b.png")))
    coco.picture("set/val2017/a.png", 7)
    assert coco.run() == 0
    captions = pathlib.Path("annotations/captions_val2017.json")
    assert ("out" / captions).read_bytes() == ("set" / captions).read_bytes()


def test_links_to_the_originals_go(coco):
    links = {"coco_url": "http://images.org/a.png", "license": 3}
    entries = json.loads(coco_file((1, "a.png")))
    entries["images"][0] |= links
    coco.text("set/annotations/captions_val2017.json", json.dumps(entries))
    assert coco.run() == 0
    text = pathlib.Path("out/annotations/captions_val2017.json").read_text()
    assert "images.org" not in text and json.loads(text)["images"][0]["license"] == 3
    assert coco.run("--metadata", "all", out="all") == 0
    text = pathlib.Path("all/annotations/captions_val2017.json").read_text()
    assert json.loads(text) == entries


def test_labels_for_another_size_refuse_the_picture(coco):
    # Turned by EXIF: labels of the stored picture would lie elsewhere on the upright.
    from PIL import Image

    exif = Image.Exif()
    exif[274] = 6
    coco.picture("set/val2017/a.png", 1, exif=exif)
    assert coco.run() == 3
    (record,) = [f for f in coco.report()["files"] if f["state"] == "refused"]
    assert (
        "200 x 220 pixels upright and its labels are for 220 x 200" in record["message"]
    )


def test_roboflow_layout_and_the_same_name_in_two_splits(scene):
    for seed, split in enumerate(("train", "valid")):
        scene.picture(f"set/{split}/a.png", seed)
        scene.text(f"set/{split}/_annotations.coco.json", coco_file((1, "a.png")))
    scene.wall("set/valid/a.png")
    assert scene.run() == 3
    for split, num in (("train", 1), ("valid", 0)):
        text = pathlib.Path(f"out/{split}/_annotations.coco.json").read_text()
        assert len(json.loads(text)["annotations"]) == num


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [{"file_name": 1}]}', "is no COCO file"),
        ('{"images": [{"file_name": "a.png"', "is no JSON"),
        (coco_file((1, "x.png")), "x.png could be one/x.png or two/x.png"),
    ],
)
def test_labels_that_cannot_be_understood_stop_the_run(coco, capsys, content, message):
    coco.picture("set/one/x.png")
    coco.picture("set/two/x.png")
    coco.text("set/annotations/captions_val2017.json", content)
    assert coco.run() == 1 and not pathlib.Path("out").exists()
    assert message in capsys.readouterr().err


def test_picture_inside_of_the_labels_is_not_let_through(coco, capsys):
    entries = json.loads(coco_file((1, "a.png")))
    entries["images"][0]["thumb"] = "iVBORw0KGgo" + "A" * 300
    coco.text("set/annotations/captions_val2017.json", json.dumps(entries))
    assert coco.run() == 3
    assert "holds a picture as text" in capsys.readouterr().err
    assert set(coco.contents()) == {
        "annotations/instances_val2017.json",
        *(f"val2017/{name}.png" for name in "abc"),
    }


def test_foreign_label_file_is_not_overwritten(coco, capsys):
    coco.text("out/annotations/instances_val2017.json", "mine")
    assert coco.run() == 1
    assert "is no result of id2face" in capsys.readouterr().err
    assert not pathlib.Path("out/val2017").exists()
    assert coco.run("--overwrite") == 0


def test_unknown_files_are_left_out_and_told(coco, capsys):
    coco.text("set/thumbnails.bin", b"\0\1")
    assert coco.run() == 0
    assert "1 files (thumbnails.bin)" in capsys.readouterr().out
    assert "thumbnails.bin" not in coco.contents()


# YOLO

YAML = """# ours
path: /elsewhere/coco8
train: images/train
val: /elsewhere/coco8/val.txt
test:
names:
  0: person
  1: path
download: |
  from x import y
  y.load()
# end
"""


@pytest.fixture
def yolo(scene):
    """set/{images,labels}/train/{a,b}, and c without labels; b is in val.txt, too."""
    for seed, name in enumerate("abc"):
        scene.picture(f"set/images/train/{name}.png", seed)
    for name in "ab":
        scene.text(f"set/labels/train/{name}.txt", f"0 0.5 0.5 0.{ord(name)} 0.1\r\n")
    scene.text("set/data.yaml", YAML)
    scene.text(
        "set/val.txt", "./images/train/a.png\n/elsewhere/coco8/images/train/b.png\n"
    )
    return scene


def test_yolo(yolo):
    assert yolo.run() == 0
    for name in "ab":
        path = pathlib.Path("labels/train") / f"{name}.txt"
        assert ("out" / path).read_bytes() == ("set" / path).read_bytes()
    new = pathlib.Path("out/data.yaml").read_text()
    assert new == (
        "# ours\ntrain: images/train\nval: val.txt\ntest:\n"
        "names:\n  0: person\n  1: path\n# end\n"
    )
    assert pathlib.Path("out/val.txt").read_text() == (
        "./images/train/a.png\n./images/train/b.png\n"
    )


def test_yolo_loses_refused_pictures(yolo):
    yolo.wall("set/images/train/a.png")
    yolo.text("set/labels/train/orphan.txt", "0 0 0 1 1\n")
    assert yolo.run() == 3
    assert set(yolo.contents()) == {
        "data.yaml",
        "val.txt",
        "images/train/b.png",
        "images/train/c.png",
        "labels/train/b.txt",
    }
    assert pathlib.Path("out/val.txt").read_text() == "./images/train/b.png\n"


def test_yolo_split_that_is_not_there_is_named_and_the_rest_is_done(yolo, capsys):
    text = "names: [a]\ntrain: ../images/train\ntest: ../test/images\n"
    yolo.text("set/data.yaml", text)
    assert yolo.run() == 0
    assert "../test/images of data.yaml, not there" in capsys.readouterr().out
    assert pathlib.Path("out/data.yaml").read_text() == text
    assert len(yolo.contents()) == 6
    assert "../test/images of data.yaml, not there" in yolo.report()["left_out"]
    capsys.readouterr()
    assert yolo.run("--strict", "--quiet") == 3
    assert "--strict: 2 files were left out" in capsys.readouterr().err


def test_yolo_entries_in_one_line_are_an_error(yolo, capsys):
    yolo.text("set/data.yaml", "{path: /home/ann, names: [a], train: images/train}\n")
    assert yolo.run() == 1
    assert "several entries in a line" in capsys.readouterr().err


def test_yolo_split_elsewhere_is_an_error(yolo, capsys):
    pathlib.Path("other/images").mkdir(parents=True)
    yolo.text("set/data.yaml", "names: [a]\ntrain: ../other/images\n")
    assert yolo.run() == 1
    assert "../other/images, which is not in set" in capsys.readouterr().err


def test_yolo_by_folders_alone_and_roboflow_paths(yolo):
    pathlib.Path("set/data.yaml").unlink()
    assert yolo.run() == 0 and "labels/train/a.txt" in yolo.contents()
    yolo.text("set/data.yaml", "names: [a]\ntrain: ../images/train\n")
    assert yolo.run(out="more") == 0
    text = pathlib.Path("more/data.yaml").read_text()
    assert text == "names: [a]\ntrain: ../images/train\n"


# Pascal VOC

XML = """<annotation>
  <filename>{name}</filename>
  <path>/home/ann/{name}</path>
  <source><database>VOC</database><flickrid>341012865</flickrid></source>
  <owner><name>Ann</name></owner>
  <size><width>220</width><height>200</height><depth>3</depth></size>
  <object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object>
</annotation>
"""


@pytest.fixture
def voc(scene):
    base = "set/VOCdevkit/VOC2012"
    for seed, name in enumerate("ab"):
        scene.picture(f"{base}/JPEGImages/{name}.jpg", seed)
        scene.text(f"{base}/Annotations/{name}.xml", XML.format(name=f"{name}.jpg"))
    scene.picture(f"{base}/SegmentationClass/a.png")
    scene.text(f"{base}/ImageSets/Main/dog_train.txt", "a  1\nb -1\n")
    return scene


def test_voc(voc):
    assert voc.run() == 0
    base = pathlib.Path("out/VOCdevkit/VOC2012")
    assert (base / "ImageSets/Main/dog_train.txt").read_text() == "a  1\nb -1\n"
    text = (base / "Annotations/a.xml").read_text()
    assert "<bndbox><xmin>1</xmin></bndbox>" in text and "<size><width>220" in text
    assert not any(link in text for link in ("341012865", "Ann", "/home"))
    # A map of segments is a picture; to read it as a photo would spoil it.
    assert not (base / "SegmentationClass").exists()
    assert voc.run("--metadata", "all", out="all") == 0
    name = "VOCdevkit/VOC2012/Annotations/a.xml"
    assert (
        pathlib.Path("all", name).read_bytes() == pathlib.Path("set", name).read_bytes()
    )


def test_voc_loses_what_tells_the_original_again(voc, capsys):
    """A hash or an embedding in the XML, whatever the file is called."""
    numbers = " ".join(["0.125"] * 128)
    for name in "ab":
        text = XML.format(name=f"{name}.jpg").replace(
            "<size>",
            f"<md5>{'0f' * 16}</md5><face_vector>{numbers}</face_vector><size>",
        )
        voc.text(f"set/VOCdevkit/VOC2012/Annotations/{name}.xml", text)
    for policy in ("strip", "all"):
        assert voc.run("--metadata", policy, out=policy) == 0
        path = pathlib.Path(policy, "VOCdevkit/VOC2012/Annotations/a.xml")
        text = path.read_text()
        assert "0f0f" not in text and "0.125" not in text
        assert "<size><width>220</width>" in text and ("Ann" in text) == (
            policy == "all"
        )
    assert "field md5" in capsys.readouterr().out


def test_voc_entities_are_not_followed(voc, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    text = XML.format(name="a.jpg").replace("dog", "&it;")
    text = f'<!DOCTYPE a [<!ENTITY it SYSTEM "{secret}">]>\n{text}'
    voc.text("set/VOCdevkit/VOC2012/Annotations/a.xml", text)
    voc.run()
    path = pathlib.Path("out/VOCdevkit/VOC2012/Annotations/a.xml")
    assert not path.exists() or "do not tell" not in path.read_text()


def test_voc_loses_refused_pictures(voc):
    voc.wall("set/VOCdevkit/VOC2012/JPEGImages/a.jpg")
    assert voc.run() == 3
    base = pathlib.Path("out/VOCdevkit/VOC2012")
    assert (base / "ImageSets/Main/dog_train.txt").read_text() == "b -1\n"
    assert [p.name for p in (base / "Annotations").iterdir()] == ["b.xml"]


def test_voc_pictures_that_share_labels_are_an_error(voc, capsys):
    voc.picture("set/VOCdevkit/VOC2012/JPEGImages/a.png")
    assert voc.run() == 1 and "have the same labels" in capsys.readouterr().err


# Folders


def test_folder_of_classes(scene):
    for seed, name in enumerate(("ann/1.png", "bob/1.png", "bob/2.png")):
        scene.picture(f"set/{name}", seed)
    scene.wall("set/cy/1.png")
    assert scene.run() == 3
    assert set(scene.contents()) == {"ann/1.png", "bob/1.png", "bob/2.png"}
    # Readers number the classes by their folders: an empty one still counts.
    classes = sorted(p.name for p in pathlib.Path("out").iterdir() if p.is_dir())
    assert classes == ["ann", "bob", "cy"]


def test_format_folder_takes_no_labels(coco):
    assert coco.run("--format", "folder") == 0
    assert set(coco.contents()) == {f"val2017/{name}.png" for name in "abc"}


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "csv"])
def test_folder_of_another_format_is_wrong_usage(scene, kind):
    scene.picture("set/a.png")
    assert scene.run("--format", kind) == 2


@pytest.mark.parametrize("out", ["set", "out.png"])
def test_dataset_needs_a_folder_of_its_own(coco, out):
    assert coco.run(out=out) == 2


def test_dry_run_writes_no_labels(coco):
    assert coco.run("--dry-run") == 0
    assert not pathlib.Path("out/annotations").exists()
