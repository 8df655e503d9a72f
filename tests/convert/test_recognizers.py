"""Recognizers give, converted, what their own files give."""

import jax
import numpy as np
import onnxruntime
import pytest

from id2face_jax.convert import insightface, mobilefacenet
from id2face_jax.convert.onnx_graph import Graph
from id2face_jax.models import build
from tests import runs
from tests.convert import foreign, onnx_files

# Measured: 1e-6 for all; folding and the order of sums differ, nothing else.
TOLERANCE = 1e-5


def _faces(num: int = 1, scale: float = 1.0):
    rng = np.random.default_rng(7)
    return scale * rng.uniform(-1, 1, (num, 112, 112, 3)).astype(np.float32)


def _run_onnx(path, faces):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return session.run(None, {name: faces.transpose(0, 3, 1, 2)})[0]


def _relative_error(converted, path, faces) -> float:
    config, params = converted
    network = build.make_recognizer(config)
    ours = jax.jit(network.apply)({"params": params}, faces)
    theirs = _run_onnx(path, faces)
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("folds", [True, False])
def test_iresnet_onnx_gives_what_onnxruntime_gives(tmp_path, folds):
    path = tmp_path / "r.onnx"
    onnx_files.save_iresnet(path, foreign.draw_iresnet(), folds)
    converted = insightface.from_onnx(Graph(path))
    config = converted[0].recognizer
    assert (config.dims, config.depths) == ((4, 6, 8, 8), (1, 2, 1, 1))
    assert _relative_error(converted, path, _faces(2)) < TOLERANCE


def test_pth_and_onnx_give_the_same_parameters(tmp_path):
    tensors = foreign.draw_iresnet()
    onnx_files.save_iresnet(tmp_path / "r.onnx", tensors, folds=False)
    config, params = insightface.from_tensors(tensors, "r.pth")
    other_config, other = insightface.from_onnx(Graph(tmp_path / "r.onnx"))
    assert config == other_config
    # The file holds float32, the tensors were float32: only their folding differs.
    runs.assert_close(params, other, atol=1e-6)


def test_missing_iresnet_tensor_is_named():
    tensors = foreign.draw_iresnet()
    del tensors["layer2.1.bn2.running_var"]
    with pytest.raises(ValueError, match=r"r\.pth lacks layer2\.1\.bn2\.running_var"):
        insightface.from_tensors(tensors, "r.pth")


def test_unused_iresnet_tensor_is_named():
    tensors = foreign.draw_iresnet() | {"layer9.conv.weight": np.zeros(1)}
    with pytest.raises(ValueError, match=r"has layer9\.conv\.weight, which no"):
        insightface.from_tensors(tensors, "r.pth")


def test_misshapen_iresnet_tensor_is_named():
    tensors = foreign.draw_iresnet()
    tensors["layer2.1.conv1.weight"] = np.zeros((6, 5, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"stage_1_1/conv1/kernel has shape"):
        insightface.from_tensors(tensors, "r.pth")


@pytest.mark.parametrize("activation", ["prelu", "relu6"])
def test_mobilefacenet_gives_what_onnxruntime_gives(tmp_path, activation):
    path = tmp_path / "m.onnx"
    onnx_files.save_mobilefacenet(path, activation)
    converted = mobilefacenet.from_onnx(Graph(path))
    config = converted[0].recognizer
    assert config.blocks == ((8, 6, 2), (8, 6, 1), (8, 6, 2))
    assert config.stem_projects == (activation == "relu6")
    faces = _faces(2, 100.0 if activation == "prelu" else 1.0)
    assert _relative_error(converted, path, faces) < TOLERANCE


@pytest.mark.parametrize("name", ["ms1m", "y1"])
def test_public_mobilefacenets_give_what_onnxruntime_gives(shared_data, name):
    path = shared_data / "models" / f"mobilefacenet-{name}.onnx"
    faces = _faces(scale=100.0 if name == "y1" else 1.0)
    converted = mobilefacenet.from_onnx(Graph(path))
    assert _relative_error(converted, path, faces) < TOLERANCE


def test_graph_of_another_architecture_names_the_tensor(tmp_path):
    path = tmp_path / "m.onnx"
    onnx_files.save_mobilefacenet(path, "relu6")
    with pytest.raises(ValueError, match="expected PRelu on tensor 't0'.*found Clip"):
        insightface.from_onnx(Graph(path))


def test_node_that_nothing_takes_is_named(tmp_path):
    builder = onnx_files.Builder({})
    builder.add("Relu", "face")
    builder.save(tmp_path / "g.onnx", builder.add("Tanh", "face"))
    graph = Graph(tmp_path / "g.onnx")
    output = graph.take("Tanh", "face").output
    with pytest.raises(ValueError, match="has Relu t0, which no parameter takes"):
        graph.finish(output)


def test_file_that_is_no_onnx_is_an_error(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"g\.onnx is no readable ONNX file"):
        Graph(tmp_path / "g.onnx")
