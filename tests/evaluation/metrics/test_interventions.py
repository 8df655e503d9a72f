"""Swapping the identity changes who appears; swapping the photo changes the rest."""

import numpy as np
import pytest

from id2face_jax.evaluation import setup
from id2face_jax.evaluation.context import Context
from id2face_jax.evaluation.methods import controls
from id2face_jax.evaluation.methods import generator as generators
from id2face_jax.evaluation.methods.method import Method
from id2face_jax.evaluation.metrics import interventions
from id2face_jax.evaluation.models import detectors
from id2face_jax.evaluation.models.network import Network
from id2face_jax.faces import embed
from tests.evaluation import demo_faces, made_up


def paint(batch):
    """Colors that are the identity's alone."""
    colors = np.clip(127 + 60 * batch.latents(48), 0, 255).astype(np.uint8)
    return np.kron(colors.reshape(-1, 4, 4, 3), np.ones((1, 8, 8, 1), np.uint8))


def draw(name, run):
    def requested(batch):
        latents = batch.latents(made_up.DIM)
        return latents / np.linalg.norm(latents, axis=1, keepdims=True)

    return Method(name, "", run, name, draws_identity=True, requested=requested)


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setattr(detectors, "find_faces", made_up.find)
    return made_up.open_context(tmp_path)


def measured(context, method):
    sources = context.outputs(controls.make_control("identity", context.people))
    return interventions.measure(context, method, sources)


def test_a_painter_of_identities_follows_them_alone(context):
    found = measured(context, draw("painter", paint))
    assert found["attributes"]["cosine_dlib"] == pytest.approx(1, abs=1e-5)
    assert abs(found["identity"]["cosine_dlib"]) < 0.3
    assert found["identity"]["counts"]["cosine_dlib"] == [12, 12]
    for fields in found.values():
        low, high = fields["intervals"]["light"]
        assert low <= fields["light"] <= high and fields["pose_deg"] is None


def test_a_copier_of_photos_follows_them_alone(context):
    found = measured(context, draw("copier", lambda batch: batch.images.copy()))
    assert found["identity"]["cosine_dlib"] == pytest.approx(1, abs=1e-5)
    assert found["identity"]["light"] == found["identity"]["landmarks_pct"] == 0
    for name in ("cosine_dlib", "landmarks_pct", "mouth_pct", "light"):
        assert found["attributes"][name] == found["photos"][name]


@pytest.mark.slow
def test_the_shipped_weights_obey_both_interventions(tmp_path):
    people = demo_faces.open_people()
    recognizer = Network(embed.make_recognizer("dlib"), "dlib", independent=False)
    context = Context(people, {"dlib": recognizer}, tmp_path)
    generator = setup.open_generator(None, None, 100.0, len(people))
    method = generators.make_generator_method("id2face", generator)
    found = measured(context, method)
    identity, attributes = found["identity"], found["attributes"]
    # Who: another identity is another person, and the picture leans to the new one.
    assert identity["cosine_dlib"] < attributes["cosine_dlib"]
    assert identity["asked_cosine"] > identity["former_cosine"]
    # What: the photo moves the face's points and light, the identity far less.
    for name in ("landmarks_pct", "mouth_pct", "light"):
        assert identity[name] < attributes[name]
