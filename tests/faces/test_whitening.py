"""The whitening on made-up people, and the map that ships."""

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.data import fit_whitening, records
from id2face_jax.faces import whitening
from id2face_jax.models.recognizers import dlib_resnet


def people(num: int = 150, photos: int = 4, dim: int = 12):
    """Raw vectors like a recognizer's: a large common part, correlated people."""
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(dim, dim)) * np.geomspace(1, 0.1, dim)
    identity = rng.normal(size=(num, 1, dim)) @ spread
    noise = 0.15 * rng.normal(size=(num, photos, dim))
    raw = 5.0 + identity + noise
    ids = np.repeat(np.arange(num), photos)
    return raw.reshape(-1, dim).astype(np.float32), ids


def impostor_mean(vectors, ids) -> float:
    cosines = vectors @ vectors.T
    return float(cosines[ids[:, None] != ids[None]].mean())


def test_different_people_have_no_cosine_left():
    raw, ids = people()
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert impostor_mean(unit, ids) > 0.8
    fitted, report = whitening.choose(raw, ids)
    assert abs(impostor_mean(fitted(raw), ids)) < 0.02
    assert len(report) == len(whitening.CANDIDATES) + 1


def test_thresholds_are_false_accept_rates():
    raw, ids = people(num=300)
    fitted, _ = whitening.choose(raw, ids)
    vectors = fitted(raw)
    different = (vectors @ vectors.T)[ids[:, None] != ids[None]]
    assert fitted.loose_threshold < fitted.threshold
    # Twice the nominal rates: thresholds come from other pairs than these.
    assert np.mean(different > fitted.threshold) < 2e-3
    assert np.mean(different > fitted.loose_threshold) < 2e-2


def test_a_person_with_many_photos_counts_once():
    raw, ids = people()
    crowd = np.concatenate([raw, np.repeat(raw[:1], 500, axis=0)])
    crowd_ids = np.concatenate([ids, np.zeros(500, int)])
    alone, crowded = whitening.measure(raw, ids), whitening.measure(crowd, crowd_ids)
    np.testing.assert_allclose(alone.mean, crowded.mean, atol=0.01)


def test_full_whitening_makes_the_covariance_the_identity():
    raw, ids = people()
    stats = whitening.measure(raw, ids)
    matrix = whitening.CANDIDATES["whitened 0.0"](stats)
    np.testing.assert_allclose(matrix.T @ stats.total @ matrix, np.eye(12), atol=1e-6)


def test_within_class_whitening_makes_noise_round():
    raw, ids = people()
    stats = whitening.measure(raw, ids)
    matrix = whitening.CANDIDATES["within-class 0.1"](stats)
    noise = matrix.T @ stats.within @ matrix
    np.testing.assert_allclose(noise, np.eye(12), atol=0.15)


def test_people_without_second_photos_cannot_fit():
    raw, _ = people()
    with pytest.raises(ValueError, match="several photos"):
        whitening.measure(raw, np.arange(len(raw)))


def test_saved_is_loaded_and_jax_agrees(tmp_path):
    raw, ids = people()
    fitted, _ = whitening.choose(raw, ids)
    whitening.save(tmp_path / "w.npz", fitted)
    again = whitening.load(tmp_path / "w.npz")
    assert again.fingerprint() == fitted.fingerprint()
    assert again.threshold == fitted.threshold
    in_jax = dlib_resnet.whiten(*map(jnp.asarray, (raw, again.mean, again.matrix)))
    np.testing.assert_allclose(in_jax, again(raw), atol=1e-5)


def test_the_shipped_map_is_sane():
    fitted = whitening.load()
    assert fitted.mean.shape == (128,) and fitted.matrix.shape == (128, 128)
    assert fitted.mean.dtype == fitted.matrix.dtype == np.float32
    assert 0.2 < fitted.loose_threshold < fitted.threshold < 0.6


def test_the_command_refits_from_records(tmp_path, monkeypatch, capsys):
    raw, ids = people(num=40)
    rows = [
        records.Record(
            image=gray_jpeg(index),
            landmarks=np.zeros((5, 2), np.float32),
            matrix=np.zeros((2, 3), np.float32),
            embedding=np.zeros(4, np.float32),
            person=str(person),
            person_id=int(person),
            photo=f"{index}.jpg",
        )
        for index, person in enumerate(ids)
    ]
    records.write_records(tmp_path / "records", {"train": rows}, 32, 4, {})

    class Network:
        """Reads the row's number off its pixels."""

        def __call__(self, images, landmarks):
            return raw[[round(float(image.mean())) for image in images]]

    monkeypatch.setattr(fit_whitening, "DlibNetwork", Network)
    out = tmp_path / "new" / "w.npz"
    fit_whitening.main([str(tmp_path / "records"), "--out", str(out)])
    fitted, _ = whitening.choose(raw, ids)
    assert whitening.load(out).fingerprint() == fitted.fingerprint()
    assert "chosen" in capsys.readouterr().out


def gray_jpeg(level: int) -> bytes:
    """A JPEG of one gray level."""

    return cv2.imencode(".jpg", np.full((32, 32, 3), level, np.uint8))[1].tobytes()
