"""The run on a GPU that is lent for minutes, rehearsed on this machine."""

import json
import pathlib
import subprocess
import tarfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import smoke
from id2face_jax.data import packed, pipeline
from id2face_jax.faces import align
from id2face_jax.generation import exports
from id2face_jax.models import build
from tests import runs

ROOT = pathlib.Path(__file__).resolve().parent.parent
GEOMETRY = align.geometry_of(smoke.get_config().data)


def _autoencoder(out):
    config = smoke.get_config()
    size = config.data.image_size
    autoencoder = build.make_autoencoder(config)
    params = autoencoder.init(jax.random.key(0), jnp.zeros((1, size, size, 3)))
    exports.save_export(out, config, {"autoencoder": params["params"]})


@pytest.mark.slow
def test_some_seconds_leave_weights_in_pieces_that_train_on(tmp_path):
    """From packed faces, without grain or TFDS; the clock ends it, not the steps."""
    splits = {
        name: pipeline.SyntheticSource(
            32, first_person=first, dim=16, geometry=GEOMETRY
        )
        for name, first in (("train", 0), ("validation", 1000))
    }
    packed.pack(splits, GEOMETRY, tmp_path / "faces")
    _autoencoder(tmp_path / "autoencoder")
    out = tmp_path / "out"
    began = time.monotonic()
    # Grain and TFDS are not on such a machine: importing either is an error here.
    for name in ("grain", "tensorflow_datasets", "array_record"):
        (tmp_path / "absent" / name).mkdir(parents=True)
        (tmp_path / "absent" / name / "__init__.py").write_text("raise ImportError")
    minutes = 0.25
    command = ["bash", "launch/one_gpu.sh", "faces", "autoencoder", "out", str(minutes)]
    command[2:5] = [str(tmp_path / name) for name in command[2:5]]
    subprocess.run(
        [*command, "--config.train.num_steps=1000000", "--config.train.log_every=1"],
        cwd=ROOT,
        check=True,
        env=runs.environment()
        | {
            "CONFIG": "configs/smoke.py",
            "PYTHONPATH": str(tmp_path / "absent"),
            "WORK": str(tmp_path / "work"),
        },
    )
    assert time.monotonic() - began > 60 * minutes
    lines = (out / "metrics.jsonl").read_text().splitlines()
    steps = json.loads(lines[-1])["step"]
    assert 0 < steps < 1_000_000
    pieces = sorted(out.glob("weights.tar.*"))
    assert pieces and all(piece.stat().st_size <= 15 * 2**20 for piece in pieces)
    whole = tmp_path / "weights.tar"
    whole.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    with tarfile.open(whole) as file:
        file.extractall(tmp_path / "back", filter="data")
    config, weights = exports.load_export(tmp_path / "back" / "export")
    assert config.data.records == str(tmp_path / "faces")
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(weights))
