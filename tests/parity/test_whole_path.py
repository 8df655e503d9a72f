"""From a PyTorch checkpoint to served faces, by the commands that a user types.

A tiny Stable Diffusion of random weights, written by diffusers, is converted, trained
in one process, resumed in two, exported with its program, and sampled.
"""

import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import traverse_util

from id2face_jax.generation import exports, serving
from id2face_jax.models import build
from tests import runs

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "smoke_full_scale.py")
WEIGHTS = "diffusion_pytorch_model.safetensors"
TRAINED, RESUMED = 4, 6  # steps
TIMEOUT = 1200  # seconds a command; compiling takes most of it


@pytest.fixture(scope="module")
def run():
    """(program, *arguments, **variables) -> what it printed; it must end well."""

    def _run(*command, **variables) -> str:
        done = subprocess.run(
            [str(word) for word in command],
            env=runs.environment() | variables,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return _run


@pytest.fixture(scope="module")
def work(references, tmp_path_factory, run):
    """The folder in which the whole path has been walked."""
    work = tmp_path_factory.mktemp("whole_path")
    id2face = (sys.executable, "-m", "id2face_jax.cli")
    vae = references.autoencoder_kl(references.AUTOENCODERS["tiny"])
    vae.save_pretrained(work / "vae")
    references.unet(references.UNETS["tiny"]).save_pretrained(work / "unet")
    autoencoder, start = work / "autoencoder-start", work / "unet-start"
    run(*id2face, "convert", work / "vae" / WEIGHTS, "--out", autoencoder)
    overrides = [
        f"--config.autoencoder.weights={autoencoder}",
        f"--config.train.init_from={start}",
        f"--config.train.save_every={TRAINED}",
        # Neither changes what is learned; each would be minutes of compiling.
        "--config.train.sample_every=1000",
        "--config.train.remat=none",
        "--config.train.log_every=1",
        # The rate is constant: at 1e-3 a few steps move a kernel by a sixth of itself.
        "--config.optim.lr=3e-4",
        "--config.mesh.fsdp=2",
    ]
    unet = ("convert", work / "unet" / WEIGHTS, "--config", CONFIG, "--out", start)
    run(*id2face, *unet, *overrides)
    train = (ROOT / "launch" / "local.sh", "--config", CONFIG, *overrides)
    train += ("--workdir", work / "run")
    for processes, steps in ((1, TRAINED), (2, RESUMED)):
        counts = {"PROCESSES": str(processes), "DEVICES": "2"}
        run(*train, f"--config.train.num_steps={steps}", **counts)
    export = ("export", "--checkpoint", work / "run", "--out", work / "export")
    run(*id2face, *export, "--serving")
    return work


@pytest.mark.slow
def test_training_starts_as_the_checkpoint_and_moves(work, references):
    _, weights, step = exports.load_run(work / "run")
    assert step == RESUMED
    unet = references.unet(references.UNETS["tiny"])
    kernel = unet.mid_block.resnets[0].conv1.weight.numpy().transpose(2, 3, 1, 0)
    _, start = exports.load_export(work / "unet-start")
    # Which leaf it became is `convert`'s to say: it is the one that equals it.
    flat = traverse_util.flatten_dict(start)
    (name,) = [key for key, x in flat.items() if np.array_equal(x, kernel)]
    moved = np.abs(traverse_util.flatten_dict(weights)[name] - kernel).max()
    assert 0 < moved < 0.1 * np.abs(kernel).max()


@pytest.mark.slow
def test_one_process_trains_and_two_go_on(work):
    assert [x["processes"] for x in _lines(work / "run/starts.jsonl")] == [1, 2]
    rows = [x for x in _lines(work / "run/metrics.jsonl") if "loss" in x]
    # None lost, none done twice.
    assert [x["step"] for x in rows] == list(range(1, RESUMED + 1))
    assert np.isfinite([x["loss"] for x in rows]).all()


@pytest.mark.slow
def test_the_export_decodes_as_diffusers_does(work, references, draw, assert_parity):
    """The frozen autoencoder came through training and export as it was."""
    config, weights = exports.load_export(work / "export")
    model = build.make_autoencoder(config)
    ours, theirs = draw(1, 4, 4, 4)
    params = {"params": weights["autoencoder"]}
    decode = jax.jit(model.apply, static_argnames="method")
    image = decode(params, ours * model.scale, method="decode")
    vae = references.autoencoder_kl(references.AUTOENCODERS["tiny"])
    assert_parity("whole path: decode", image, vae.decode(theirs).sample)


@pytest.mark.slow
def test_the_served_program_samples(work):
    sample = serving.load_sampler(work / "export")
    config, _ = exports.load_export(work / "export")
    rng, side = np.random.default_rng(0), config.data.image_size
    images = rng.integers(0, 256, (3, side, side, 3), np.uint8)
    masks = np.zeros((3, side, side), np.float32)
    masks[:, 8:24, 8:24] = 1.0
    embeddings = rng.normal(size=(3, config.model.embedding_dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    faces = np.asarray(sample(images, masks, embeddings, np.uint32([1, 2, 3]), 90.0))
    np.testing.assert_array_equal(faces[masks == 0], images[masks == 0])
    assert (faces != images)[masks == 1].any(axis=-1).mean() > 0.9


def _lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
