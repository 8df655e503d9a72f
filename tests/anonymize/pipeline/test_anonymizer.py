"""The algorithm on real pictures, with models that fail on purpose."""

import dataclasses

import numpy as np
import PIL.Image
import pytest
import skimage.data

from id2face_jax import demo
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.faces import align
from id2face_jax.faces.detect import CenterFaceDetector
from tests.anonymize import planted

# The portrait's head: small, so that detection is quick.
PORTRAIT = np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])
TOUCHING = demo.pictures()["touching"]


@pytest.fixture(scope="module")
def detector():
    return CenterFaceDetector()


def make(detector, function, recognizer=None, more=(), **settings):
    return Anonymizer(
        planted.PlantedGenerator(function),
        [recognizer or planted.PlantedRecognizer(), *more],
        detector,
        FaceOptions(**settings),
    )


def test_new_face_is_pasted_and_nothing_else_changes(detector):
    anonymizer = make(detector, planted.other_face)
    before = PORTRAIT.copy()
    result = anonymizer(PORTRAIT)
    (face,) = result.faces
    assert result.state == face.state == "anonymized"
    assert face.attempts == 1 and face.cosine < face.threshold and face.seen
    np.testing.assert_array_equal(PORTRAIT, before)
    changed = np.any(result.image != PORTRAIT, axis=-1)
    crop = align.crop_matrix(face.detection.landmarks, planted.SIZE)
    points = align.transform_points(crop, np.argwhere(changed)[:, ::-1].astype(float))
    assert changed.any() and points.min() > -1 and points.max() < planted.SIZE


def test_pass_through_is_caught_retried_and_blurred(detector):
    anonymizer = make(detector, planted.pass_through)
    result = anonymizer(PORTRAIT)
    (face,) = result.faces
    assert result.state == face.state == "fallback"
    assert face.attempts == 4 and face.cosine < face.threshold
    requests = anonymizer.tools.generator.requests
    assert [float(r.angles[0]) for r in requests] == [100, 100, 130, 150]
    assert len({r.latents.tobytes() for r in requests}) == 4
    assert len({int(r.seeds[0]) for r in requests}) == 4
    # Each attempt starts from the same source.
    assert len({r.crops.tobytes() for r in requests}) == 1


def test_refusal_gives_no_picture(detector):
    result = make(detector, planted.pass_through, on_failure="refuse")(PORTRAIT)
    assert result.state == "refused" and result.image is None


def test_smudge_is_no_face(detector):
    result = make(detector, planted.gray)(PORTRAIT)
    (face,) = result.faces
    assert face.state == "fallback" and face.attempts == 4


def test_attempts_end_with_the_first_that_passes(detector):
    def third_time(requests, row):
        good = requests.angles[row] > 110
        return (planted.other_face if good else planted.pass_through)(requests, row)

    result = make(detector, third_time)(PORTRAIT)
    (face,) = result.faces
    assert face.state == "anonymized" and face.attempts == 3 and face.angle == 130


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_recognizer_that_always_knows_refuses_even_the_blur(detector, value):
    recognizer = planted.PlantedRecognizer(always=value)
    result = make(detector, planted.other_face, recognizer)(PORTRAIT)
    assert result.state == "refused" and result.image is None


def test_every_recognizer_must_pass(detector):
    strict = planted.PlantedRecognizer()
    strict.threshold = -1.0  # nothing passes
    result = make(detector, planted.other_face, more=[strict])(PORTRAIT)
    assert result.state == "refused"
    assert len(result.faces[0].checks) == 2


def test_face_of_a_neighbor_is_no_new_face(detector):
    swap = {}

    def neighbor(requests, row):
        swap.setdefault(bytes(requests.embeddings[row]), requests.crops[row])
        others = [
            c for key, c in swap.items() if key != bytes(requests.embeddings[row])
        ]
        new = others[0] if others else 255 - requests.crops[row]
        return planted.composite(requests, row, np.float64(new))

    pair = np.concatenate([PORTRAIT, np.roll(PORTRAIT, 60, 2)[:, ::-1]], axis=1)
    result = make(detector, neighbor)(np.ascontiguousarray(pair))
    assert result.state == "fallback"
    assert "fallback" in {face.state for face in result.faces}


def test_touching_faces_are_changed_one_after_the_other(detector):
    anonymizer = make(detector, planted.black, max_attempts=1)
    result = anonymizer(TOUCHING)
    assert len(result.faces) == 2 and result.image is not None
    one, two = anonymizer.tools.generator.requests[:2]
    assert len(one) == len(two) == 1
    # The second crop was cut from a picture in which the first face is black already.
    original = align.crop(TOUCHING, result.faces[1].matrix, planted.SIZE)
    darker = two.crops[0].astype(int) < original.astype(int) - 40
    assert np.all(darker, axis=-1).sum() > 50


def test_results_depend_on_no_other_picture_and_no_order(detector):
    anonymizer = make(detector, planted.other_face)
    pictures = [PORTRAIT, np.ascontiguousarray(PORTRAIT[20:, ::-1])]
    together = anonymizer.anonymize_all(pictures)
    turned = anonymizer.anonymize_all(pictures[::-1])[::-1]
    for one, other in zip(together, turned, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    alone = anonymizer(pictures[1]).image
    np.testing.assert_array_equal(together[1].image, alone)


def test_array_view_pil_image_and_file_are_one_picture(detector, tmp_path):
    PIL.Image.fromarray(PORTRAIT).save(tmp_path / "a.png")
    bgr = np.ascontiguousarray(PORTRAIT[..., ::-1])
    pictures = [
        PORTRAIT,
        bgr[..., ::-1],
        PIL.Image.fromarray(PORTRAIT),
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
    ]
    first, *others = make(detector, planted.other_face).anonymize_all(pictures)
    assert first.state == "anonymized"
    for other in others:
        np.testing.assert_array_equal(other.image, first.image)


@pytest.mark.parametrize(
    "wrong",
    [
        PORTRAIT[..., 0],
        PORTRAIT / 255.0,
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["gray", "float", "four channels", "empty"],
)
def test_arrays_that_are_no_rgb_picture_are_errors(detector, wrong):
    with pytest.raises(ValueError, match="use RGB pixels"):
        make(detector, planted.other_face)(wrong)


def test_other_settings_take_the_same_models(detector):
    anonymizer = make(detector, planted.other_face, strength=100.0)
    other = anonymizer.with_settings(seed=2)
    assert other.tools.generator is anonymizer.tools.generator
    assert other.tools.settings == FaceOptions(seed=2, strength=100.0)
    expected = make(detector, planted.other_face, seed=2, strength=100.0)
    np.testing.assert_array_equal(other(PORTRAIT).image, expected(PORTRAIT).image)


def test_seed_changes_the_face(detector):
    first, same, other = (
        make(detector, planted.other_face, seed=seed)(PORTRAIT).image
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)


class Blinking:
    """A detector that misses the first picture's smaller face at its first call."""

    def __init__(self, detector):
        self._detector, self._calls = detector, 0

    def __call__(self, image, threshold):
        self._calls += 1
        found = self._detector(image, threshold)
        return found[:1] if self._calls == 1 else found


def test_missed_face_is_found_in_the_result_and_changed(detector):
    pair = np.ascontiguousarray(np.concatenate([PORTRAIT, PORTRAIT[:, ::-1]], axis=1))
    result = make(Blinking(detector), planted.other_face)(pair)
    assert [face.state for face in result.faces] == ["anonymized"] * 2
    middles = sorted(face.detection.box[0] for face in result.faces)
    assert middles[0] < 256 < middles[1]


def test_face_with_impossible_points_is_blurred(detector):
    def broken(image, threshold):
        return [
            dataclasses.replace(face, landmarks=np.zeros((5, 2), np.float32))
            for face in detector(image, threshold)
        ]

    result = make(broken, planted.other_face)(PORTRAIT)
    (face,) = result.faces
    assert result.state == face.state == "fallback" and face.cosine is None
    assert np.any(result.image != PORTRAIT)


def test_no_face_is_said_and_changes_nothing(detector):
    empty = np.full((64, 96, 3), 90, np.uint8)
    result = make(detector, planted.other_face)(empty)
    assert result.state == "no_face" and not result.faces and result.image is None
    result = make(detector, planted.other_face)(empty, on_no_face="copy")
    np.testing.assert_array_equal(result.image, empty)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_turned_and_small_faces_are_found(detector, turn, scale):
    import cv2

    small = cv2.resize(PORTRAIT, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = np.ascontiguousarray(np.rot90(small, turn))
    result = make(detector, planted.other_face)(picture)
    assert len(result.faces) == 1 and result.state in ("anonymized", "fallback")


def test_second_look_finds_what_the_first_misses(detector):
    calls = []

    def weak(image, threshold):
        calls.append(threshold)
        return [] if len(calls) == 1 else detector(image, threshold)

    result = make(weak, planted.other_face)(PORTRAIT)
    assert result.state == "anonymized" and calls[1] < calls[0]


def test_aligned_crop_is_a_face_whatever_the_detector_says(detector):
    (found,) = detector(PORTRAIT, 0.5)
    crop = align.crop(PORTRAIT, align.crop_matrix(found.landmarks, 96), 96)
    with_eyes = make(detector, planted.other_face)(crop, aligned=True)
    assert [face.state for face in with_eyes.faces] == ["anonymized"]
    blind = make(lambda image, threshold: [], planted.other_face)(crop, aligned=True)
    assert blind.state == "anonymized" and np.any(blind.image != crop)
    with pytest.raises(ValueError, match="aligned crop is square"):
        make(detector, planted.other_face)(PORTRAIT[:200], aligned=True)


def test_larger_mask_changes_more(detector):
    areas = [
        np.any(
            make(detector, planted.other_face, mask_scale=scale)(PORTRAIT).image
            != PORTRAIT,
            axis=-1,
        ).sum()
        for scale in (1.0, 1.3)
    ]
    assert areas[1] > 1.15 * areas[0]


def test_kept_face_stays_and_the_other_changes(detector):
    pair = np.ascontiguousarray(np.concatenate([PORTRAIT, PORTRAIT[:, ::-1]], axis=1))
    chooser = lambda faces: [face.detection.box[0] > 256 for face in faces]  # noqa: E731
    result = make(detector, planted.other_face)(pair, chooser=chooser)
    assert sorted(face.state for face in result.faces) == ["anonymized", "kept"]
    np.testing.assert_array_equal(result.image[:, :256], PORTRAIT)
    nobody = make(detector, planted.other_face)(
        pair, chooser=lambda faces: [False] * len(faces)
    )
    assert nobody.state == "no_face" and nobody.image is None
    with pytest.raises(ValueError, match="use refuse or copy"):
        make(detector, planted.other_face)(pair, on_no_face="skip")


def test_key_and_person_decide_the_identity(detector):
    def latent(key, person, picture=PORTRAIT):
        anonymizer = make(detector, planted.other_face, key=key)
        anonymizer(picture, namer=lambda faces: [person] * len(faces))
        return anonymizer.tools.generator.requests[0].latents[0].tobytes()

    mirrored = np.ascontiguousarray(PORTRAIT[:, ::-1])
    assert latent(b"k" * 32, "ann") == latent(b"k" * 32, "ann", mirrored)
    assert latent(b"k" * 32, "ann") != latent(b"k" * 32, "bob")
    assert latent(b"k" * 32, "ann") != latent(b"q" * 32, "ann")
    assert latent(b"k" * 32, None) != latent(b"k" * 32, None, mirrored)


def test_pseudonym_has_two_chances_before_it_is_given_up(detector):
    anonymizer = make(detector, planted.pass_through, key=b"k" * 32)
    anonymizer(PORTRAIT, namer=lambda faces: ["ann"])
    latents = [r.latents.tobytes() for r in anonymizer.tools.generator.requests]
    assert latents[0] == latents[1] and len(set(latents)) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": 80.0},
        {"strength": 160.0},
        {"det_threshold": 0.0},
        {"mask_scale": 0.9},
        {"max_attempts": -1},
        {"on_failure": "ignore"},
    ],
)
def test_settings_that_would_show_faces_are_errors(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FaceOptions(**wrong)


def test_key_is_not_shown():
    assert "secret" not in repr(FaceOptions(key=b"secret" * 6))


def test_recognizer_of_another_model_is_an_error(detector):
    other = planted.PlantedRecognizer()
    other.dim = 7
    with pytest.raises(ValueError, match="gives 7 numbers"):
        make(detector, planted.other_face, other)
