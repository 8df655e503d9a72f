"""The real parts: a (random) model behind the generator's door, dlib's recognizer."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import skimage.data

from configs import smoke
from id2face_jax.anonymize.pipeline import verify
from id2face_jax.anonymize.pipeline.anonymizer import Anonymizer
from id2face_jax.anonymize.pipeline.generator import (
    DiffusionGenerator,
    Requests,
    bucket_sizes,
    use_compilation_cache,
)
from id2face_jax.anonymize.pipeline.options import FaceOptions
from id2face_jax.faces.detect import CenterFaceDetector
from id2face_jax.faces.embed import DlibRecognizer
from id2face_jax.models import build
from tests.anonymize import planted
from tests.draws import random_params


def tiny_config(embedding_dim=16):
    config = smoke.get_config()
    config.data.image_size = 32
    config.model.embedding_dim = embedding_dim
    return ml_collections.FrozenConfigDict(config)


def random_weights(config):
    """Weights drawn at random, so that no path through the networks is zero."""
    model, autoencoder = build.make_model(config), build.make_autoencoder(config)
    size, dim = config.data.image_size, config.model.embedding_dim

    x = jnp.zeros((1, size, size, 3))
    z = jnp.zeros((1, size // 8, size // 8, config.autoencoder.latent_channels))
    f, t = jnp.zeros((1, dim)), jnp.ones(1)
    return {
        "model": random_params(model, z, z, z[..., :1], t, f)["params"],
        "autoencoder": random_params(autoencoder, x, scale=0.05)["params"],
    }


@pytest.fixture(scope="module")
def export():
    config = tiny_config()
    return config, random_weights(config)


def requests(num, size=32, dim=16, latent=8):
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(num, dim)).astype(np.float32)
    masks = np.zeros((num, size, size), np.float32)
    masks[:, 8:24, 8:24] = 1
    return Requests(
        rng.integers(0, 256, (num, size, size, 3), np.uint8),
        masks,
        embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
        rng.normal(size=(num, latent)).astype(np.float32),
        rng.integers(0, 2**32, num).astype(np.uint32),
        np.full(num, 90.0, np.float32),
    )


@pytest.mark.parametrize("max_batch", [1, 3, 4, 16, 100])
def test_buckets_hold_all_rows_and_waste_less_than_half(max_batch):
    for num in range(1, 70):
        sizes = bucket_sizes(num, max_batch)
        assert sum(sizes) >= num and max(sizes) <= max_batch
        assert sum(sizes) - num <= max(sizes) // 2
    assert bucket_sizes(0, max_batch) == []


def test_a_row_depends_on_no_batch(export):
    asked = requests(6)
    alone = DiffusionGenerator(*export, max_batch=1)(asked)
    together = DiffusionGenerator(*export, max_batch=16)(asked)
    np.testing.assert_array_equal(alone, together)
    # The mask is kept, and the inside is new.
    outside = asked.masks == 0
    np.testing.assert_array_equal(alone[outside], asked.crops[outside])
    assert np.any(alone != asked.crops)


def test_fingerprint_follows_the_weights(export):
    config, weights = export
    first = DiffusionGenerator(config, weights).fingerprint
    assert DiffusionGenerator(config, weights).fingerprint == first
    changed = jax.tree.map(np.array, weights)
    jax.tree.leaves(changed)[-1].flat[0] += 1e-3
    assert DiffusionGenerator(config, changed).fingerprint != first


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_batch": 0}, "batch size is 0"), ({"num_steps": 0}, "number of steps is 0")],
)
def test_generator_options_are_checked(export, options, message):
    with pytest.raises(ValueError, match=message):
        DiffusionGenerator(*export, **options)


def test_autoencoder_alone_is_no_generator(export):
    config, weights = export
    with pytest.raises(ValueError, match="autoencoder alone"):
        DiffusionGenerator(config, {"autoencoder": weights["autoencoder"]})


def test_compilation_cache_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("ID2FACE_CACHE_DIR", str(tmp_path / "cache"))
    before = jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    try:
        folder = use_compilation_cache()
        assert folder == tmp_path / "cache" / "compiled"
        assert folder.stat().st_mode & 0o077 == 0
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)


# With the real detector and recognizer


PORTRAIT = np.ascontiguousarray(skimage.data.astronaut()[:256, 96:352])


@pytest.fixture(scope="module")
def recognizer():
    return DlibRecognizer()


class Planted128(planted.PlantedGenerator):
    embedding_dim = 128


def test_dlib_catches_a_pass_through(recognizer):
    anonymizer = Anonymizer(
        Planted128(planted.pass_through),
        [recognizer],
        CenterFaceDetector(),
        FaceOptions(max_attempts=1),
    )
    result = anonymizer(PORTRAIT)
    (face,) = result.faces
    assert face.state == "fallback" and face.cosine < face.threshold
    # Before the blur the same face was seen, if with only 64 pixels of detail.
    refused = Anonymizer(
        Planted128(planted.pass_through),
        [recognizer],
        CenterFaceDetector(),
        FaceOptions(max_attempts=1, on_failure="refuse"),
    )(PORTRAIT)
    assert refused.state == "refused" and refused.faces[0].cosine > 0.6


def test_random_model_end_to_end_never_leaves_the_face(recognizer):
    config = tiny_config(embedding_dim=recognizer.dim)
    generator = DiffusionGenerator(config, random_weights(config))
    anonymizer = Anonymizer(generator, [recognizer], CenterFaceDetector())
    result = anonymizer(PORTRAIT)
    (face,) = result.faces
    assert result.state in ("anonymized", "fallback")
    assert face.cosine < face.threshold == recognizer.threshold
    assert np.any(result.image != PORTRAIT)
    np.testing.assert_array_equal(result.image, anonymizer(PORTRAIT).image)


@pytest.mark.slow
def test_the_shipped_model_runs_the_documented_example():
    import doctest

    from id2face_jax.anonymize.pipeline import anonymizer

    results = doctest.testmod(anonymizer)
    assert results.attempted > 3 and not results.failed


def test_an_embedding_depends_on_no_other_face(recognizer):
    (found,) = CenterFaceDetector()(PORTRAIT, 0.5)
    landmarks = found.landmarks[None]
    turned = np.ascontiguousarray(PORTRAIT[::-1, ::-1])
    alone = verify.embed([recognizer], [PORTRAIT], landmarks)[0][0]
    many = verify.embed([recognizer], [turned, PORTRAIT], landmarks.repeat(2, 0))[0]
    np.testing.assert_array_equal(many[1], alone)
