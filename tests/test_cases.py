"""What people complained about, on the very inputs: `../shared/cases`, where it is.

Each kind has a test of its own that builds its input; this is the check on the files.
Every face is blurred, no new one is tried; detectors and recognizer are real.
"""

import dataclasses
import json
import pathlib
import shutil

import av
import cv2
import numpy as np
import PIL.Image
import pytest

from id2face_jax import cli
from id2face_jax.anonymize.pipeline import generator
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.video import container
from id2face_jax.faces import finding
from id2face_jax.faces.detect import CenterFaceDetector
from id2face_jax.faces.embed import make_recognizer
from id2face_jax.faces.truncated import TruncatedFaceDetector
from tests.anonymize import planted

CASES = pathlib.Path(__file__).resolve().parents[2] / "shared" / "cases"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    recognizer = make_recognizer("dlib")
    maker = planted.PlantedGenerator(planted.pass_through)
    maker.embedding_dim = recognizer.dim
    return maker, [recognizer], CenterFaceDetector(), TruncatedFaceDetector()


@pytest.fixture
def case(tmp_path, monkeypatch, models):
    """Copies a case's folder to the current one; gives the command."""
    if not CASES.is_dir():
        pytest.skip(f"no cases at {CASES}: people's own files were not tried")

    def from_pretrained(path=None, **options):
        first, recognizers, detector, second = models
        settings = dataclasses.replace(options["settings"], max_attempts=0)
        return Anonymizer(first, recognizers, detector, settings, second)

    monkeypatch.setattr(Anonymizer, "from_pretrained", from_pretrained)
    monkeypatch.setattr(generator, "use_compilation_cache", lambda: None)
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments, source="in"):
        if not pathlib.Path("in").exists():
            shutil.copytree(CASES / name, "in")
        return cli.main(["anonymize", source, "-o", "out", *arguments])

    return run


def report():
    files = json.loads(pathlib.Path("out/report.json").read_text())["files"]
    return {pathlib.Path(file["input"]).name: file for file in files}


def frames(path):
    return [frame.pixels for frame in container.frames(path, container.Span())]


def changes(before, after, box):
    """Mean gray levels between two pictures in a box, but for coding."""
    left, top, right, bottom = (max(0, round(float(v))) for v in box)
    old, new = (image[top:bottom, left:right].astype(int) for image in (before, after))
    return np.abs(old - new).mean()


@pytest.mark.parametrize(
    ("name", "clip"), [("01_video_noise", "noise"), ("03_video_border", "border")]
)
def test_a_clip_is_as_safe_as_its_frames_as_photos(case, name, clip):
    assert case(name) == 0
    photo = report()[f"{clip}_as_photo.png"]
    boxes = [place["box"] for place in photo["faces"] + photo["covered"]]
    assert len(boxes) >= 2
    pairs = zip(frames(f"in/{clip}.mp4"), frames(f"out/{clip}.mp4"), strict=True)
    for before, after in pairs:
        assert min(changes(before, after, box) for box in boxes) > 8


def far_faces(image):
    """Small faces, as a look at twice the size sees them."""
    detector = CenterFaceDetector()
    found = []
    for left in range(0, image.shape[1], 900):
        part = image[:, left : left + 1024]
        large = cv2.resize(part, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        back = np.array([[0.5, 0, left], [0, 0.5, 0]])
        faces = [finding.mapped(face, back) for face in detector(large, 0.4)]
        found += [face for face in faces if face.box[2] - face.box[0] < 60]
    return [
        face
        for i, face in enumerate(found)
        if not any(finding.is_same_face(face.box, f.box) for f in found[:i])
    ]


@pytest.mark.parametrize(
    "name", ["wide_3900.jpg", "same_padded_to_4200.jpg", "uhd.mp4"]
)
def test_small_faces_of_large_pictures_are_hidden(case, name):
    assert case("04_small_faces", source=f"in/{name}") == 0
    if name.endswith(".mp4"):
        pairs = list(zip(frames(f"in/{name}"), frames(f"out/{name}"), strict=True))
    else:
        paths = (f"{folder}/{name}" for folder in ("in", "out"))
        pairs = [[np.asarray(PIL.Image.open(path)) for path in paths]]
    faces = far_faces(pairs[0][0])
    assert len(faces) >= 10
    for before, after in pairs:
        assert all(changes(before, after, face.box) > 6 for face in faces)


def test_sound_that_does_not_play_is_not_written(case):
    assert case("05_cut_out_sound", "--on-no-face", "copy") == 0
    with av.open("out/trimmed.mp4", options={"ignore_editlist": "1"}) as opened:
        samples = sum(frame.samples for frame in opened.decode(audio=0))
    assert samples / 44100 < 0.72


@pytest.mark.parametrize("kind", ["csv", "coco"])
def test_embeddings_of_originals_go(case, capsys, kind):
    columns = ("--format", "csv", "--columns", "person", "--columns", "encoding")
    source = f"in/{kind}"
    assert (
        case("06_embeddings", *(columns if kind == "csv" else ()), source=source) == 0
    )
    texts = [p.read_text() for p in pathlib.Path("out").rglob("*.csv")]
    texts += [p.read_text() for p in pathlib.Path("out/annotations").rglob("*.json")]
    assert texts and not any("0.12573" in text for text in texts)
    assert "dropped from the labels" in capsys.readouterr().out


def test_what_alpha_hides_stays_hidden(case):
    case("07_video_alpha", "--on-no-face", "copy")
    with av.open("in/cutout.mov") as opened:
        source = next(opened.decode(video=0)).to_ndarray(format="rgba")
    (shown, *_) = frames("out/cutout.mov")
    hidden = source[..., 3] == 0
    assert hidden.any() and shown[hidden].mean() < 8


def test_long_name_stops_no_other(case):
    shutil.copytree(CASES / "08_long_name", "in")
    shutil.copy("in/a.jpg", "in/" + "n" * 245 + ".jpg")
    assert case("08_long_name") == 0 and len(report()) == 2


@pytest.mark.parametrize("name", ["09_bad_csv", "09_bad_csv_long_cell"])
def test_tables_stop_no_photo(case, name, capsys):
    assert case(name) == 0
    assert ".csv" in capsys.readouterr().out
    assert not list(pathlib.Path("out").rglob("*.csv"))


def test_aspect_of_pixels_stays(case):
    assert case("10_non_square_pixels", "--on-no-face", "copy") == 0
    with av.open("out/sar.mp4") as opened:
        aspect = opened.streams.video[0].sample_aspect_ratio
    assert (aspect.numerator, aspect.denominator) == (64, 45)


def test_last_frame_lasts(case):
    assert case("11_last_frame", "--on-no-face", "copy") == 0
    assert container.end_of("out/vfr.mp4") == pytest.approx(5.6)
    assert "breaks off" not in report()["vfr.mp4"]["message"]


def test_files_of_no_known_kind_are_named(case, capsys):
    assert case("12_mixed_folder") == 0
    told = capsys.readouterr().out
    for name in ("cam.mts", "old.3gp", "photo.jp2"):
        assert name in told
    assert case("12_mixed_folder", "--strict") == 3


def test_archive_beside_a_picture_is_done(case):
    assert case("13_shards_with_preview") == 0
    assert pathlib.Path("out/00000.tar").is_file()


def test_absent_split_is_named_and_the_rest_is_done(case, capsys):
    assert case("16_roboflow", "--on-no-face", "copy") == 0
    assert "../test/images" in capsys.readouterr().out


def test_fields_become_frames(case):
    assert case("18_interlaced", "--on-no-face", "copy") == 0
    with av.open("out/inter.mp4") as opened:
        assert not any(frame.interlaced_frame for frame in opened.decode(video=0))


def test_first_view_of_a_spatial_photo_is_taken(case):
    pytest.importorskip("pillow_heif")
    assert case("22_spatial_heic") == 0
    (file,) = report().values()
    assert "1 further views in the file are dropped" in file["message"]
