"""A tiny MobileNet as a TensorFlow.js graph model, as its converter writes them."""

import base64
import json
import pathlib

import numpy as np

BLOCKS = ((6, 1), (8, 2))
STEM = 4


class _Model:
    def __init__(self, seed: int, quantize: bool):
        self.rng, self.quantize = np.random.default_rng(seed), quantize
        self.nodes, self.weights, self.data = [], [], b""
        self.last = "input_1"
        self.node("Placeholder", "input_1", [])

    def node(self, op, name, inputs, **attributes):
        self.nodes.append({"op": op, "name": name, "input": inputs, "attr": attributes})
        self.last = name

    def tensor(self, name, shape, low, high) -> str:
        dtype = np.float16 if self.quantize else np.float32
        value = self.rng.uniform(low, high, shape).astype(dtype)
        entry = {"name": name, "shape": list(shape), "dtype": "float32"}
        if self.quantize:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        self.weights.append(entry)
        self.data += value.tobytes()
        self.nodes.append({"op": "Const", "name": name})
        return name

    def layer(self, name, op, kernel, stride):
        strides = {"list": {"i": ["1", str(stride), str(stride), "1"]}}
        padding = {"s": base64.b64encode(b"SAME").decode()}
        channels = kernel[2] if op != "Conv2D" else kernel[3]
        weights = self.tensor(f"{name}/kernel", kernel, -0.5, 0.5)
        self.node(op, name, [self.last, weights], strides=strides, padding=padding)
        if op != "Conv2D":
            scale = self.tensor(f"{name}/scale", (channels,), 0.5, 1.5)
            self.node("Mul", f"{name}/mul", [self.last, scale])
        bias = self.tensor(f"{name}/bias", (channels,), -0.5, 0.5)
        self.node("Add", f"{name}/add", [self.last, bias])
        self.node("Relu", f"{name}/relu", [self.last])
        self.node("Minimum", f"{name}/min", [self.last, "six"])
        self.node("Maximum", f"{name}/max", [self.last, "zero"])


def save_mobilenet(
    path: pathlib.Path, seed: int = 0, quantize: bool = True, last: str = "Mean"
) -> None:
    """Writes PATH and PATH's weights; `last` is the operation behind the blocks."""
    model = _Model(seed, quantize)
    model.layer("stem", "Conv2D", (3, 3, 3, STEM), 2)
    into = STEM
    for i, (features, stride) in enumerate(BLOCKS):
        model.layer(f"dw{i}", "DepthwiseConv2dNative", (3, 3, into, 1), stride)
        model.layer(f"pw{i}", "Conv2D", (1, 1, into, features), 1)
        into = features
    model.node(last, "pool", [model.last, "axes"])
    # A head that convert leaves out.
    head = model.tensor("head/kernel", (into, 1), -1.0, 1.0)
    model.node("_FusedMatMul", "head", [model.last, head])
    manifest = [{"paths": [f"{path.stem}.bin"], "weights": model.weights}]
    path.with_suffix(".bin").write_bytes(model.data)
    path.write_text(
        json.dumps(
            {"modelTopology": {"node": model.nodes}, "weightsManifest": manifest}
        )
    )


def embed(path: pathlib.Path, x: np.ndarray) -> np.ndarray:
    """What that model says of x (b, s, s, 3), read and run apart from `convert`."""
    from jax import lax

    manifest = json.loads(path.read_text())["weightsManifest"][0]
    data, tensors = path.with_suffix(".bin").read_bytes(), {}
    for entry in manifest["weights"]:
        dtype = np.dtype(entry.get("quantization", entry)["dtype"])
        size = int(np.prod(entry["shape"])) * dtype.itemsize
        value = np.frombuffer(data[:size], dtype).reshape(entry["shape"])
        tensors[entry["name"]], data = value.astype(np.float32), data[size:]

    def layer(x, name, stride, groups=1):
        kernel = tensors[f"{name}/kernel"]
        if groups > 1:
            kernel = kernel.transpose(0, 1, 3, 2)
        x = lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )
        x = x * tensors.get(f"{name}/scale", 1.0) + tensors[f"{name}/bias"]
        return np.clip(x, 0.0, 6.0)

    x = layer(x, "stem", 2)
    for i, (_, stride) in enumerate(BLOCKS):
        x = layer(x, f"dw{i}", stride, x.shape[-1])
        x = layer(x, f"pw{i}", 1)
    return x.mean(axis=(1, 2))
