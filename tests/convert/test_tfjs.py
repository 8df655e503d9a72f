"""A TensorFlow.js MobileNet gives, converted, what its own graph gives."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from id2face_jax.convert import tfjs
from id2face_jax.models import build
from tests.convert import tfjs_files


@pytest.mark.parametrize("quantize", [True, False])
def test_mobilenet_gives_what_its_graph_gives(tmp_path, quantize):
    path = tmp_path / "m.json"
    tfjs_files.save_mobilenet(path, quantize=quantize)
    config, params = tfjs.from_graph(path)
    network = build.make_recognizer(config)
    assert (network.stem, network.blocks, network.dim) == (4, ((6, 1), (8, 2)), 8)
    faces = np.random.default_rng(1).normal(size=(2, 33, 33, 3)).astype(np.float32)
    expected = tfjs_files.embed(path, faces)
    assert np.abs(expected).max() > 0.1
    found = network.apply({"params": params}, jnp.asarray(faces))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_its_view_comes_with_it(tmp_path):
    tfjs_files.save_mobilenet(tmp_path / "m.json")
    view = tfjs.from_graph(tmp_path / "m.json")[0].view
    assert (view.channels, view.size) == ("BGR", 160)


def test_weights_that_are_cut_off_are_named(tmp_path):
    path = tmp_path / "m.json"
    tfjs_files.save_mobilenet(path)
    data = path.with_suffix(".bin").read_bytes()
    path.with_suffix(".bin").write_bytes(data[:-2])
    with pytest.raises(ValueError, match=r"m\.bin ends within head/kernel"):
        tfjs.from_graph(path)


def test_missing_weights_are_named(tmp_path):
    path = tmp_path / "m.json"
    tfjs_files.save_mobilenet(path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ValueError, match=r"m\.bin is missing"):
        tfjs.from_graph(path)


def test_another_graph_is_refused_by_what_is_wrong(tmp_path):
    path = tmp_path / "m.json"
    tfjs_files.save_mobilenet(path, last="Reshape")
    with pytest.raises(ValueError, match="Reshape where a MobileNet has its mean"):
        tfjs.from_graph(path)


def test_another_json_is_refused(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"weights": []}))
    with pytest.raises(ValueError, match=r"m\.json is no TensorFlow\.js graph model"):
        tfjs.from_graph(path)
