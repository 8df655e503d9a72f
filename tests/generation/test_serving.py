"""Serving: the exported program computes what the sampler computes, for any batch."""

import jax
import numpy as np
import pytest
from jax import export

from id2face_jax import cli
from id2face_jax.data import pipeline
from id2face_jax.generation import exports, generate, serving
from id2face_jax.training import programs
from tests import runs


@pytest.fixture(scope="module")
def trained():
    """(config, weights) of the diffusion stage: a toy with small random numbers."""
    config, rng = runs.tiny_config("id2face"), np.random.default_rng(0)
    state = programs.make_layout(config, runs.make_mesh(1, 1)).state
    shapes = {"model": state.ema, "autoencoder": state.frozen["autoencoder"]}
    weights = jax.tree.map(
        lambda x: rng.normal(scale=0.1, size=x.shape).astype(np.float32), shapes
    )
    return config, weights


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    config, weights = trained
    out = exports.save_export(tmp_path_factory.mktemp("e") / "x", config, weights)
    (out / serving.PROGRAM).write_bytes(serving.export_sampler(config, weights))
    return out


def faces(config, num):
    batch = pipeline.first_batch(config, num)
    masks = batch["mask_a"].astype(np.float32) / 255
    return (
        batch["image_a"],
        masks,
        batch["embedding_a"],
        np.arange(num, dtype=np.uint32),
    )


@pytest.mark.slow
def test_the_loaded_program_draws_what_the_sampler_draws(trained, folder):
    config, weights = trained
    sample = serving.load_sampler(folder)
    for num in (1, 3):
        images, masks, embeddings, seeds = faces(config, num)
        got = sample(images, masks, embeddings, seeds, 80.0)
        want = jax.jit(serving.make_sampler(config, "embedding", 2))(
            weights, images, masks, embeddings, seeds, np.float32(80.0)
        )
        # Compiled twice: a rounding may fall on the other side.
        assert got.shape == want.shape
        assert np.abs(np.asarray(got, int) - np.asarray(want, int)).max() <= 1


@pytest.mark.slow
def test_one_file_serves_every_platform_and_any_number_of_faces(folder):
    blob = bytearray((folder / serving.PROGRAM).read_bytes())
    assert len(blob) < 2**20  # the weights are not in it
    exported = export.deserialize(blob)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert str(exported.out_avals[0].shape[0]) == "num_faces"


def test_an_autoencoder_has_no_sampler():
    with pytest.raises(ValueError, match="task is 'autoencoder', which has no sampler"):
        serving.export_sampler(runs.tiny_config("autoencoder"), {})


def test_an_export_without_a_program_says_how_to_make_one(trained, tmp_path):
    out = exports.save_export(tmp_path / "x", *trained)
    with pytest.raises(ValueError, match="make the export with --serving"):
        serving.load_sampler(out)


def test_the_command_writes_the_program_into_the_export(
    trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(exports, "load_run", lambda *_: (*trained, 7))
    monkeypatch.setattr(serving, "export_sampler", lambda *_: b"program")
    out = tmp_path / "x"
    argv = ["export", "--checkpoint", "run", "--out", str(out), "--serving"]
    assert cli.main(argv) == 0
    assert (out / serving.PROGRAM).read_bytes() == b"program"
    assert serving.PROGRAM in capsys.readouterr().out
    assert exports.load_export(out)[0].task == "id2face"


def test_the_shapes_are_those_of_the_faces():
    config = runs.tiny_config("id2face")
    shapes = serving.sampler_shapes(config, 3)[:-1]
    for shape, array in zip(shapes, faces(config, 3), strict=True):
        assert (shape.shape, shape.dtype) == (array.shape, array.dtype)


def test_modes_are_those_of_the_generator(trained):
    config, weights = trained
    with pytest.raises(ValueError, match=f"one of \\('{generate.MODES[0]}'"):
        serving.export_sampler(config, weights, mode="other")
