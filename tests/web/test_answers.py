"""What the page is told of a photo, and that nothing else is done with it."""

import io
import json
import sys

import numpy as np
import PIL.Image
import pytest
import skimage.data

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.anonymize.pipeline.verify import Check
from id2face_jax.faces.detect import CenterFaceDetector
from id2face_jax.web import answers
from tests.anonymize import planted

PORTRAIT = np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])


def make(function=planted.other_face, detector=None, recognizer=None, **settings):
    return Anonymizer(
        planted.PlantedGenerator(function),
        [recognizer or planted.PlantedRecognizer()],
        detector or planted.PlantedDetector(),
        FaceOptions(**settings),
    )


def photo(pixels=None, kind="PNG", **options):
    buffer = io.BytesIO()
    pixels = planted.picture() if pixels is None else pixels
    PIL.Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def ask(content, anonymizer=None, seed=0, strength=90.0):
    return answers.answer(anonymizer or make(), content, seed=seed, strength=strength)


def test_answer_has_new_pixels_words_and_a_report():
    given = ask(photo(), seed=7, strength=120.0)
    new = np.asarray(PIL.Image.open(io.BytesIO(given.picture)))
    assert new.shape == (200, 220, 3) and np.any(new != planted.picture())
    about = json.loads(json.dumps(given.about))
    assert about["state"] == "anonymized" and about["type"] == "image/png"
    assert "new one" in about["headline"]
    (face,) = about["faces"]
    assert face["outcome"] == "new face" and "below the limit" in face["words"]
    assert face["cosine"] < face["threshold"] == 0.6
    left, top, right, bottom = face["box"]
    assert 0 < left < right < 1 and 0 < top < bottom < 1
    settings = about["report"]["settings"]
    assert settings["seed"] == 7 and settings["strength"] == 120.0
    assert about["report"]["faces"][0]["state"] == "anonymized"


def test_seed_and_strength_change_the_face():
    given = {
        ask(photo(), seed=seed, strength=strength).picture
        for seed, strength in [(0, 90.0), (1, 90.0), (0, 90.0)]
    }
    assert len(given) == 2
    with pytest.raises(ValueError, match="strength is 20.0; use 90.0 to 150"):
        ask(photo(), strength=20.0)


def test_jpeg_comes_back_without_metadata_and_upright():
    exif = PIL.Image.Exif()
    exif[271], exif[274] = "camera", 6
    exif.get_ifd(0x8825)[2] = (48.0, 51.0, 0.0)
    sideways = np.ascontiguousarray(np.rot90(planted.picture()))
    content = photo(sideways, "JPEG", exif=exif, quality=95, comment=b"her name")
    given = ask(content)
    assert given.about["type"] == "image/jpeg"
    image = PIL.Image.open(io.BytesIO(given.picture))
    assert image.size == (220, 200) and not image.getexif()
    assert not {"exif", "comment"} & image.info.keys()


def test_refused_photo_gives_nothing_out():
    anonymizer = make(recognizer=planted.PlantedRecognizer(always=1.0))
    given = ask(photo(), anonymizer)
    assert given.about["state"] == "refused" and given.picture == b""
    assert "no picture is given out" in given.about["headline"]
    assert given.about["faces"][0]["words"] == "high: still recognized"


def test_photo_without_a_face_gives_nothing_out():
    given = ask(photo(np.full((64, 80, 3), 90, np.uint8)))
    assert given.about["state"] == "no_face" and given.picture == b""
    assert given.about["faces"] == []


def test_blurred_face_is_said():
    given = ask(photo(), make(planted.pass_through, max_attempts=1))
    assert given.about["state"] == "fallback" and given.picture
    assert given.about["faces"][0]["outcome"].startswith("blurred")


def test_face_drawn_by_transparency_is_seen():
    drawn = np.zeros((256, 256, 4), np.uint8)
    drawn[..., 3] = 255 - PORTRAIT.mean(axis=-1).astype(np.uint8)
    given = ask(photo(drawn), make(detector=CenterFaceDetector()))
    assert len(given.about["faces"]) == 1 and given.about["state"] != "no_face"
    assert PIL.Image.open(io.BytesIO(given.picture)).mode == "RGB"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the photo is empty"),
        (b"not a photo", "is not a picture that can be read"),
        (photo()[:400], "the photo"),
    ],
    ids=["empty", "text", "cut off"],
)
def test_what_is_no_photo_is_an_error(content, message):
    with pytest.raises(ValueError, match=message):
        ask(content)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(answers, "MAX_PIXELS", 200 * 220 - 1)
    with pytest.raises(ValueError, match="million pixels|at most"):
        ask(photo())


@pytest.mark.parametrize(
    ("cosine", "words"),
    [
        (0.1, "low: far below the limit"),
        (0.5, "moderate: below the limit, but near it"),
        (0.6, "high: still recognized"),
        (np.nan, "high: still recognized"),
    ],
)
def test_risk_in_words(cosine, words):
    found = answers.risk((Check("a", cosine, 0.6),))
    assert found["words"] == words and found["threshold"] == 0.6
    json.dumps(found, allow_nan=False)


def test_risk_is_that_of_the_closest_recognizer():
    checks = (Check("a", 0.1, 0.6), Check("b", 0.3, 0.4), Check("c", 0.2, 0.9))
    found = answers.risk(checks)
    assert (found["cosine"], found["threshold"]) == (0.3, 0.4)
    nothing = answers.risk(())
    assert nothing["cosine"] is None and "cannot be compared" in nothing["words"]


def test_no_file_is_opened_for_writing():
    written, watching = [], [False]

    def watch(event, arguments):
        if watching[0] and event == "open":
            path, mode, flags = arguments
            if flags & 3:  # O_WRONLY or O_RDWR
                written.append(path)

    sys.addaudithook(watch)  # it cannot be taken away again, but told to look away
    ask(photo())  # imports and caches of a first time are not the photo's
    watching[0] = True
    try:
        ask(photo(kind="JPEG"), make(seed=3))
        ask(photo(kind="TIFF"))
    finally:
        watching[0] = False
    assert written == []
