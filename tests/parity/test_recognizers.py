"""Recognizers equal PyTorch's, from `.pth` and from exported ONNX."""

import warnings

import jax
import numpy as np
import onnx
import pytest

from id2face_jax.convert import insightface, sources
from id2face_jax.convert.onnx_graph import Graph
from id2face_jax.models import build

SIZES = {
    "tiny": ((4, 6, 8, 8), (1, 2, 1, 1), 16),
    "r50": ((64, 128, 256, 512), (3, 4, 14, 3), 512),
    "r100": ((64, 128, 256, 512), (3, 13, 30, 3), 512),
}


def _embed(converted, faces):
    config, params = converted
    network = build.make_recognizer(config)
    return jax.jit(network.apply)({"params": params}, faces)


@pytest.mark.parametrize("size", SIZES)
def test_iresnet_from_pth(references, torch, draw, assert_parity, tmp_path, size):
    network = references.iresnet(*SIZES[size])
    torch.save(network.state_dict(), tmp_path / "backbone.pth")
    tensors = sources.read_tensors(tmp_path / "backbone.pth")
    ours, theirs = draw(2, 3, 112, 112)
    converted = insightface.from_tensors(tensors, "backbone.pth")
    name = f"IResNet {size}: backbone.pth"
    assert_parity(name, _embed(converted, ours), network(theirs))


def test_iresnet_from_folded_onnx(references, torch, draw, assert_parity, tmp_path):
    network = references.iresnet(*SIZES["tiny"])
    ours, theirs = draw(2, 3, 112, 112)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(network, (theirs,), tmp_path / "r.onnx", dynamo=False)
    nodes = [n.op_type for n in onnx.load(tmp_path / "r.onnx").graph.node]
    # A block's first, and the two around the last layer: the rest is folded.
    assert nodes.count("BatchNormalization") == sum(SIZES["tiny"][1]) + 2
    converted = insightface.from_onnx(Graph(tmp_path / "r.onnx"))
    name = "IResNet tiny: folded ONNX"
    assert_parity(name, _embed(converted, ours), network(theirs))


def test_pth_is_read_as_pytorch_reads_it(torch, tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    content = {
        "view": whole[1:, ::2].T,
        "half": whole.half(),
        "bfloat16": whole.bfloat16(),
        "parameter": torch.nn.Parameter(whole),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    torch.save(content, tmp_path / "w.pth")
    read = sources.read_tensors(tmp_path / "w.pth")
    for name, value in content.items():
        theirs = value.detach().float().numpy()
        np.testing.assert_array_equal(read[name], theirs)
