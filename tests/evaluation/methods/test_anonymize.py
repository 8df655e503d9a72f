"""The whole path is measured on what it wrote, and no photo is dropped."""

import numpy as np
import pytest
from PIL import Image

from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer, Result
from id2face_jax.anonymize.pipeline.face import Face
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.data import prepare
from id2face_jax.evaluation import people
from id2face_jax.evaluation.context import Context
from id2face_jax.evaluation.methods import anonymize, catalog
from id2face_jax.evaluation.metrics import figures
from id2face_jax.evaluation.report import sections
from id2face_jax.faces import align
from id2face_jax.faces.detect import Detection
from tests.anonymize import planted

SIZE, NUM = 64, 5
FACE = planted.PlantedDetector()(planted.picture(), 0.5)[0]
PHOTOS = {f"{i}.png": planted.picture(i) for i in range(NUM)}


class Records:
    """A planted picture a person, as `id2face prepare` would have cut it."""

    person_ids = np.arange(NUM)

    def __len__(self):
        return NUM

    def __getitem__(self, index):
        matrix = align.crop_matrix(FACE.landmarks, SIZE)
        crop = align.crop(PHOTOS[f"{index}.png"], matrix, SIZE)
        return {
            "image": prepare.decode_crop(prepare.encode_crop(crop)),
            "landmarks": align.transform_points(matrix, FACE.landmarks),
            "matrix": np.float32(matrix),
            "embedding": np.eye(8, dtype=np.float32)[index],
            "person": f"person {index}",
            "person_id": index,
            "photo": f"{index}.png",
        }


class Stub:
    """An anonymizer whose answer to each photo is known."""

    def __init__(self, answer):
        self._answer = answer

    def anonymize_all(self, pictures):
        return [self._answer(picture) for picture in pictures]


def written(image, *detections, covered=()):
    return Result(image, "anonymized", tuple(map(Face, detections)), tuple(covered))


@pytest.fixture
def context(tmp_path):
    faces = people.select(Records(), None, 0, PHOTOS.__getitem__)
    return Context(faces, {}, tmp_path)


def measured(context, anonymizer):
    """(crops, states) of all photos."""
    method = anonymize.make_anonymize_method(anonymizer, context.people, "a test")
    outputs = context.outputs(method)
    assert context.repeat_difference(outputs) == 0
    return outputs.crops.column("crops"), figures.states(outputs)


def test_what_was_written_is_cut_as_the_records_are(context):
    crops, states = measured(context, Stub(lambda image: written(image, FACE)))
    # The records' matrices are single precision.
    difference = np.abs(crops.astype(int) - context.people.images(np.arange(NUM)))
    assert np.mean(difference) < 1
    assert states == dict.fromkeys(anonymize.STATES, 0) | {"anonymized": NUM}


def test_black_faces_give_black_crops(context):
    black = Stub(lambda image: written(np.zeros_like(image), FACE))
    crops, _ = measured(context, black)
    assert not crops.any()


def test_photos_that_are_not_written_are_counted(context):
    def answer(image):
        if np.array_equal(image, PHOTOS["3.png"]):
            return Result(None, "refused", ())
        if np.array_equal(image, PHOTOS["1.png"]):
            return Result(None, "no_face", ())
        return written(image, FACE)

    crops, states = measured(context, Stub(answer))
    assert [not crop.any() for crop in crops] == [False, True, False, True, False]
    assert states["refused"] == states["no_face"] == 1 and sum(states.values()) == NUM


def test_a_face_beside_the_measured_one_leaves_it_missed(context):
    other = Detection(FACE.box + 60, 0.9, FACE.landmarks + 60)
    _, states = measured(context, Stub(lambda image: written(image, other)))
    assert states["missed"] == NUM
    blurred = Stub(lambda image: written(image, other, covered=[FACE]))
    method = anonymize.make_anonymize_method(blurred, context.people, "blurred")
    assert figures.states(context.outputs(method))["fallback"] == NUM


@pytest.mark.parametrize(
    "function, state",
    [(planted.other_face, "anonymized"), (planted.pass_through, "fallback")],
)
def test_the_product_changes_the_face_or_blurs_it(context, function, state):
    anonymizer = Anonymizer(
        planted.PlantedGenerator(function),
        [planted.PlantedRecognizer()],
        planted.PlantedDetector(),
        FaceOptions(),
    )
    (method,) = catalog.make_methods(
        (anonymize.NAME,), context.people, None, anonymizer
    )
    assert method.depends_on["model"]["sha256"] == "planted" and method.must_hide
    outputs = context.outputs(method)
    assert figures.states(outputs)[state] == NUM
    batch = context.people.batch(np.arange(NUM))
    difference = np.abs(outputs.crops.column("crops").astype(int) - batch.images)
    difference = difference.mean(axis=-1)
    assert difference[batch.masks > 0.99].mean() > 10
    if state == "anonymized":  # a blur is wider than the mask
        assert difference[batch.masks == 0].mean() < 3


def test_crops_alone_are_not_enough(context):
    crops = people.select(Records(), None, 0)
    with pytest.raises(ValueError, match="give --photos"):
        catalog.make_methods((anonymize.NAME,), crops, None, None)


def test_photos_are_found_from_their_folder_or_the_one_above(tmp_path):
    folder = tmp_path / "faces"
    (folder / "Ann").mkdir(parents=True)
    Image.fromarray(PHOTOS["0.png"]).save(folder / "Ann" / "a.png")
    for root in (folder, tmp_path):
        photo = people.photo_reader(root)("faces/Ann/a.png")
        np.testing.assert_array_equal(photo, PHOTOS["0.png"])
    with pytest.raises(ValueError, match="has no photo Ben/b.jpg"):
        people.photo_reader(folder)("faces/Ben/b.jpg")


def test_the_report_counts_every_state():
    counts = dict.fromkeys(anonymize.STATES, 0) | {"anonymized": 3, "refused": 1}
    rows = [{"method": "anonymize", "states": counts}, {"method": "x", "states": None}]
    (section,) = sections._states({"rows": rows})
    lines = {line[0].split(":")[0]: line[1:] for line in section.table.lines}
    assert lines["refused"] == ["1", "25.0"] and len(lines) == len(counts)
