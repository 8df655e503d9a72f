"""insightface's IResNet to our parameters: `backbone.pth`, or its ONNX export.

Both end in the same folded parameters (see `models.iresnet`).
"""

import re
from collections.abc import Mapping

import numpy as np

from id2face_jax.convert import matching
from id2face_jax.convert.onnx_graph import (
    Graph,
    take_conv,
    take_dense,
    take_norm,
    take_prelu,
)
from id2face_jax.convert.recognizers import (
    ARCFACE_VIEW,
    EPSILON,
    affine,
    finish,
    fold_behind,
    head,
    onnx_view,
)


def _fields(tree: dict) -> dict:
    """config.recognizer of an IResNet's tensors, by our names."""
    dims, depths = [], []
    while f"stage_{len(depths)}_0" in tree:
        stage = len(depths)
        blocks = [name for name in tree if name.startswith(f"stage_{stage}_")]
        depths.append(len(blocks))
        dims.append(tree[f"stage_{stage}_0"]["conv2"]["kernel"].shape[0])
    dim = tree["project"]["kernel"].shape[0]
    return {
        "kind": "iresnet",
        "dims": tuple(dims),
        "depths": tuple(depths),
        "dim": dim,
    }


def is_iresnet(names) -> bool:
    """Whether these are the tensors of insightface's IResNet."""
    return "layer1.0.conv1.weight" in names and "features.running_var" in names


class _Taking(dict):
    """insightface's tensors; remembers which were taken."""

    def __init__(self, tensors: Mapping[str, np.ndarray], where: str):
        kept = (k for k in tensors if not k.endswith(".num_batches_tracked"))
        super().__init__({k: tensors[k] for k in kept})
        self.where, self.left = where, set(self)

    def take(self, key: str) -> np.ndarray:
        if key not in self:
            raise ValueError(f"{self.where} lacks {key}")
        self.left.discard(key)
        return np.asarray(self[key], np.float64)

    def norm(self, name: str):
        parts = ("weight", "bias", "running_mean", "running_var")
        return affine(*(self.take(f"{name}.{part}") for part in parts), EPSILON)

    def conv(self, name: str, norm: str) -> dict:
        kernel, bias = fold_behind(self.take(f"{name}.weight"), 0.0, self.norm(norm))
        return {"kernel": kernel, "bias": bias}


def from_tensors(tensors: Mapping[str, np.ndarray], where: str):
    """(config, parameters) of an IResNet from insightface's `backbone.pth`.

    Raises ValueError for missing, unused or misshapen tensors, by name.
    """
    source = _Taking(tensors, where)
    tree = {
        "stem": source.conv("conv1", "bn1"),
        "stem_prelu": {"slope": source.take("prelu.weight")},
    }
    found = (re.match(r"layer(\d+)\.(\d+)\.", name) for name in tensors)
    for layer, i in sorted({(int(m[1]), int(m[2])) for m in found if m}):
        name = f"layer{layer}.{i}"
        scale, bias = source.norm(f"{name}.bn1")
        block = {
            "norm": {"scale": scale, "bias": bias},
            "conv1": source.conv(f"{name}.conv1", f"{name}.bn2"),
            "prelu": {"slope": source.take(f"{name}.prelu.weight")},
            "conv2": source.conv(f"{name}.conv2", f"{name}.bn3"),
        }
        if f"{name}.downsample.0.weight" in source:
            block["downsample"] = source.conv(
                f"{name}.downsample.0", f"{name}.downsample.1"
            )
        tree[f"stage_{layer - 1}_{i}"] = block
    weight, bias = source.take("fc.weight"), source.take("fc.bias")
    layer = fold_behind(weight, bias, source.norm("features"))
    tree["project"] = head(*layer, source.norm("bn2"))
    if source.left:
        raise ValueError(
            f"{where} has {matching.name_some(source.left)}, which no parameter takes"
        )
    return finish(_fields(tree), tree, where, ARCFACE_VIEW)


def from_onnx(graph: Graph):
    """(config, parameters) of an IResNet from insightface's ONNX export.

    Folded (w600k_r50.onnx) or not. Raises ValueError, naming the node, for a graph of
    another architecture.
    """
    stem, x, _ = take_conv(graph, graph.input)
    prelu, x = take_prelu(graph, x)
    tree, stage, i = {"stem": stem, "stem_prelu": prelu}, -1, 0
    while True:
        norm, h = take_norm(graph, x)
        if "Conv" not in graph.ops(h):
            break
        block = {"norm": {"scale": norm[0], "bias": norm[1]}}
        block["conv1"], h, first = take_conv(graph, h)
        block["prelu"], h = take_prelu(graph, h)
        block["conv2"], h, stride = take_conv(graph, h)
        if "Conv" in graph.ops(x):
            block["downsample"], x, _ = take_conv(graph, x)
        node = graph.take("Add", x)
        if h not in node.inputs or first != 1:
            raise ValueError(
                f"{graph.path}: {node.name} closes no block of an IResNet, where the "
                "second convolution has the stride"
            )
        stage, i = (stage + 1, 0) if stride == 2 else (stage, i + 1)
        tree[f"stage_{stage}_{i}"], x = block, node.output
    *layer, x = take_dense(graph, h)
    graph.finish(x)
    tree["project"] = head(*layer, norm)
    return finish(_fields(tree), tree, str(graph.path), onnx_view(graph.path))
