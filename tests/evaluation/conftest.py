"""A small evaluation on real faces, made once a session: people of `train` alone."""

import csv
import hashlib
import io
import pathlib
import tarfile

import numpy as np
import pytest
from PIL import Image

from id2face_jax.data import photos, prepare
from id2face_jax.evaluation import people, runner, setup
from id2face_jax.evaluation.methods import catalog
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics import intervals, quality
from id2face_jax.faces import embed

PEOPLE_WITH_PAIRS, PEOPLE_ALONE = 20, 16


@pytest.fixture(scope="session")
def people_tar(shared_data) -> dict[str, list[tuple[str, bytes]]]:
    """JPEG photos by person: `train` people of LFW, picked by their names' hash."""
    with open(shared_data / "lfw" / "splits.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    rows.sort(key=lambda row: hashlib.sha256(row["person"].encode()).hexdigest())
    pairs = [row["person"] for row in rows if row["images"] in ("2", "3")]
    alone = [row["person"] for row in rows if row["images"] == "1"]
    wanted = {*pairs[:PEOPLE_WITH_PAIRS], *alone[:PEOPLE_ALONE]}
    photos: dict[str, list[tuple[str, bytes]]] = {}
    with tarfile.open(shared_data / "lfw" / "lfw-deepfunneled-dev.tar") as tar:
        for member in tar:
            person = member.name.split("/")[0]
            if member.isfile() and person in wanted:
                data = tar.extractfile(member).read()
                photos.setdefault(person, []).append((member.name, data))
    return photos


@pytest.fixture(scope="session")
def records(people_tar, tmp_path_factory) -> pathlib.Path:
    """Records of those people, in the split "test", at 128 px."""

    def reader(data):
        return lambda: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    out = tmp_path_factory.mktemp("people") / "records"
    prepare.prepare(
        [
            photos.Photo(name, person, reader(data), "test")
            for person, pictures in people_tar.items()
            for name, data in pictures
        ],
        out,
        embed.make_recognizer("dlib"),
        crop=prepare.Crop(128),
        num_workers=1,
        splits={},
        largest=False,
    )
    return out


@pytest.fixture(scope="session")
def make_context(records, shared_data, tmp_path_factory):
    """Contexts on the records; by default with a second recognizer beside dlib."""
    models = shared_data / "models"
    root = tmp_path_factory.mktemp("cache")

    def make(recognizers=(models / "mobilefacenet-y1.onnx",), limit=None):
        return setup.make_context(
            people.open_people(records, "test", limit, 0),
            root,
            recognizers=[str(path) for path in recognizers],
            pose=[],
            expression=None,
            second_detector=None,
        )

    return make


@pytest.fixture(scope="session")
def quick():
    """VGG16 on a few faces and few resamples: what is slow and not in question."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "MAX_SET_FACES", 12)
        patch.setattr(intervals, "NUM_SET_RESAMPLES", 3)
        yield


def planted(name="planted"):
    """A generator that returns the photo with two gray levels of light."""
    return Method(
        name,
        "a generator that passes photos through",
        lambda batch: np.where(batch.images < 255, batch.images + 1, 255).astype("u1"),
        name,
        must_hide=True,
    )


@pytest.fixture(scope="session")
def result(make_context, quick) -> dict:
    """The evaluation of three controls and a planted pass-through generator."""
    bench = make_context()
    rows = catalog.make_methods(("identity", "blur", "black"), bench.people, None)
    return runner.evaluate(
        bench,
        [*rows, planted()],
        None,
        path="records",
        split="test",
        with_attacks=False,
    )


@pytest.fixture(scope="session")
def pictures():
    """Six 64 px crops with some structure, and a mask."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (6, 8, 8, 3))
    images = np.kron(coarse, np.ones((1, 8, 8, 1))) + rng.normal(0, 5, (6, 64, 64, 3))
    y, x = np.mgrid[:64, :64]
    mask = np.clip(1.5 - np.hypot(x - 32, y - 34) / 16, 0, 1).astype(np.float32)
    return np.clip(images, 0, 255).astype(np.uint8), np.stack([mask] * 6)
