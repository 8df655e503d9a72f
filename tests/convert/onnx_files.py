"""ONNX files of recognizers, written node by node as PyTorch's exporter writes them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Builder:
    """A chain of nodes; each method adds one behind `source` and returns its output.

    Names are numbers, as in exported files. Normalisations are folded into the
    convolution before them if `folds`.
    """

    def __init__(self, tensors: dict, folds: bool = True):
        self.tensors, self.folds = tensors, folds
        self.nodes, self.constants = [], []

    def _constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(value, np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs, *constants, **attributes) -> str:
        """Any node: its inputs, then its constants."""
        inputs = [inputs] if isinstance(inputs, str) else list(inputs)
        inputs += [self._constant(value) for value in constants]
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def norm(self, source: str, name: str) -> str:
        """A batch normalisation by its PyTorch name."""
        parts = ("weight", "bias", "running_mean", "running_var")
        values = [self.tensors[f"{name}.{part}"] for part in parts]
        return self.add("BatchNormalization", source, *values, epsilon=1e-5)

    def conv(self, source: str, name: str, norm: str, stride: int = 1, group=1) -> str:
        """A convolution and the normalisation behind it, folded or not."""
        kernel = np.asarray(self.tensors[f"{name}.weight"], np.float64)
        pad = kernel.shape[-1] // 2 if kernel.shape[-1] < 7 else 0
        fields = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
        if not self.folds:
            return self.norm(self.add("Conv", source, kernel, **fields), norm)
        weight, bias, mean, var = (
            np.asarray(self.tensors[f"{norm}.{part}"], np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = weight / np.sqrt(var + 1e-5)
        kernel = kernel * scale[:, None, None, None]
        return self.add("Conv", source, kernel, bias - mean * scale, **fields)

    def prelu(self, source: str, name: str) -> str:
        """A PReLU by its PyTorch name."""
        return self.add("PRelu", source, self.tensors[f"{name}.weight"][:, None, None])

    def save(self, path, output: str) -> None:
        """Writes the file; the input is "face", any batch of 112 px."""
        shape = ["n", 3, 112, 112]
        face = helper.make_tensor_value_info("face", TensorProto.FLOAT, shape)
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n", None])
        graph = helper.make_graph(self.nodes, "g", [face], [out], self.constants)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        onnx.save(model, path)


def save_iresnet(path, tensors: dict, folds: bool) -> None:
    """An IResNet of `foreign.draw_iresnet` as an ONNX file."""
    b = Builder(tensors, folds)
    x = b.prelu(b.conv("face", "conv1", "bn1"), "prelu")
    stage, i = 1, 0
    while f"layer{stage}.{i}.conv1.weight" in tensors:
        name = f"layer{stage}.{i}"
        h = b.conv(b.norm(x, f"{name}.bn1"), f"{name}.conv1", f"{name}.bn2")
        h = b.prelu(h, f"{name}.prelu")
        h = b.conv(h, f"{name}.conv2", f"{name}.bn3", 2 if i == 0 else 1)
        if i == 0:
            x = b.conv(x, f"{name}.downsample.0", f"{name}.downsample.1", 2)
        x = b.add("Add", [h, x])
        more = f"layer{stage}.{i + 1}.conv1.weight" in tensors
        stage, i = (stage, i + 1) if more else (stage + 1, 0)
    x = b.add("Flatten", b.norm(x, "bn2"), axis=1)
    x = b.add("Gemm", x, tensors["fc.weight"], tensors["fc.bias"], transB=1)
    b.save(path, b.norm(x, "features"))


def save_mobilefacenet(path, activation: str) -> None:
    """A tiny MobileFaceNet of either kind of `models.mobilefacenet`."""
    rng = np.random.default_rng(2)
    b = Builder({})

    def conv(x, out, into, kernel=1, stride=1, group=1):
        pad = 1 if kernel == 3 else 0
        values = rng.normal(0, (into * kernel**2) ** -0.5, (out, into, kernel, kernel))
        fields = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
        return b.add("Conv", x, values, rng.normal(0, 0.2, out), **fields)

    def act(x, width, plain=False):
        if activation == "prelu":
            return b.add("PRelu", x, rng.uniform(0, 0.5, (width, 1, 1)))
        return b.add("Relu", x) if plain else b.add("Clip", x, 0.0, 6.0)

    x = "face"
    if activation == "prelu":
        x = b.add("Mul", b.add("Sub", x, 127.5), 1 / 128)
    x = act(conv(x, 4, 3, 3, 2), 4)
    x = act(conv(x, 4, 1, 3, 1, 4), 4, plain=True)
    if activation == "relu6":
        x = act(conv(x, 4, 4), 4, plain=True)
    for hidden, into, out, stride in ((8, 4, 6, 2), (8, 6, 6, 1), (8, 6, 6, 2)):
        h = act(conv(x, hidden, into), hidden)
        h = act(conv(h, hidden, 1, 3, stride, hidden), hidden)
        h = conv(h, out, hidden)
        x = b.add("Add", [x, h]) if stride == 1 else h
    x = act(conv(x, 10, 6), 10)
    x = conv(x, 10, 1, 14, 1, 10)
    if activation == "relu6":
        shape = numpy_helper.from_array(np.array([-1, 5]), "shape")
        b.constants.append(shape)
        b.save(path, b.add("Reshape", [conv(x, 5, 10), "shape"]))
        return
    x = b.add("Flatten", x, axis=1)
    x = b.add("Gemm", x, rng.normal(0, 0.3, (5, 10)), np.zeros(5), transB=1)
    values = (rng.uniform(0.5, 2, 5), *rng.normal(size=(2, 5)), rng.uniform(0.5, 2, 5))
    b.save(path, b.add("BatchNormalization", x, *values, epsilon=2e-5))
