"""An ONNX file as a graph to be taken apart, node by node, until nothing is left.

Exported names are numbers, so a converter follows the data: it asks for the node that
reads a given tensor and does a given operation. What it never asks for is an error.
"""

import dataclasses
import pathlib

import numpy as np
import onnx
from onnx import numpy_helper

from id2face_jax.convert import matching
from id2face_jax.convert.recognizers import EPSILON, affine, fold_behind

# Nodes that only carry their input on, once the batch is fixed to one shape.
_NEUTRAL = ("Identity", "Dropout")


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation: constants are its constant inputs, in order."""

    op: str
    name: str
    output: str
    inputs: tuple[str, ...]
    constants: tuple[np.ndarray, ...]
    attributes: dict


class Graph:
    """The nodes of an ONNX file that were not yet taken."""

    def __init__(self, path: pathlib.Path):
        """Reads the file. Raises ValueError if it is no ONNX model of one input."""
        try:
            graph = onnx.load(path).graph
        except Exception as error:  # protobuf's own errors share no base class
            raise ValueError(f"{path} is no readable ONNX file: {error}") from None
        constants = {x.name: numpy_helper.to_array(x) for x in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        inputs = [x.name for x in graph.input if x.name not in constants]
        if len(inputs) != 1:
            raise ValueError(f"{path} has inputs {inputs}; expected one, the face")
        self.path, self.input, self.output = path, inputs[0], graph.output[0].name
        read = {name for node in graph.node for name in node.input}
        self._unread = {x.name for x in graph.initializer} - read
        self._nodes = _wire(graph.node, constants)

    def ops(self, source: str) -> list[str]:
        """What is still to be done with the tensor `source`."""
        return [node.op for node in self._nodes if source in node.inputs]

    def ahead(self, source: str, count: int) -> Node | None:
        """The node `count` steps on from `source`, skips left aside; takes nothing."""
        node = None
        for _ in range(count):
            reading = [n for n in self._nodes if source in n.inputs and n.op != "Add"]
            if len(reading) != 1:
                return None
            node, source = reading[0], reading[0].output
        return node

    def has_grouped_convolution(self) -> bool:
        """Whether any convolution left is depthwise."""
        groups = [n.attributes.get("group", 1) for n in self._nodes if n.op == "Conv"]
        return max(groups, default=1) > 1

    def take(self, op: str, source: str) -> Node:
        """The node that does `op` on the tensor `source`, removed from the graph.

        Raises ValueError if there is none: the file is of another architecture.
        """
        for node in self._nodes:
            if node.op == op and source in node.inputs:
                self._nodes.remove(node)
                return node
        raise ValueError(
            f"{self.path}: expected {op} on tensor {source!r}, and found "
            f"{', '.join(self.ops(source)) or 'nothing'}; convert does not know this "
            "architecture"
        )

    def finish(self, output: str) -> None:
        """Raises ValueError unless all was taken and `output` is the graph's."""
        left = [f"{node.op} {node.name}" for node in self._nodes] + sorted(self._unread)
        if left:
            raise ValueError(
                f"{self.path} has {matching.name_some(left)}, which no parameter takes"
            )
        if output != self.output:
            raise ValueError(
                f"{self.path} ends in {self.output!r}; the network, in {output!r}"
            )


def _wire(nodes, constants) -> list[Node]:
    """Nodes with their constants in place; neutral ones are bridged."""
    alias, wired = {}, []
    for node in nodes:
        if node.op_type == "Constant":
            continue
        inputs = [alias.get(name, name) for name in node.input if name]
        if node.op_type in _NEUTRAL:
            alias[node.output[0]] = inputs[0]
            continue
        wired.append(
            Node(
                op=node.op_type,
                name=node.name or node.output[0],
                output=node.output[0],
                inputs=tuple(x for x in inputs if x not in constants),
                constants=tuple(constants[x] for x in inputs if x in constants),
                attributes={
                    a.name: onnx.helper.get_attribute_value(a) for a in node.attribute
                },
            )
        )
    return wired


def take_norm(graph: Graph, source: str) -> tuple[tuple, str]:
    """(scale, bias) of a batch normalisation, and its output."""
    node = graph.take("BatchNormalization", source)
    return affine(*node.constants, node.attributes.get("epsilon", EPSILON)), node.output


def _take_norm_behind(graph: Graph, kernel, bias, output: str):
    """(kernel, bias, output) with the normalisation behind a layer, if there is one."""
    # One that opens the next block stands behind an Add, never behind a layer.
    if graph.ops(output) == ["BatchNormalization"]:
        norm, output = take_norm(graph, output)
        kernel, bias = fold_behind(kernel, bias, norm)
    return kernel, bias, output


def take_conv(graph: Graph, source: str) -> tuple[dict, str, int]:
    """A convolution with the normalisation behind it, its output and its stride.

    Raises ValueError for another padding than our networks have: 1 for a 3x3 kernel,
    else 0.
    """
    node = graph.take("Conv", source)
    kernel = np.asarray(node.constants[0], np.float64)
    bias = node.constants[1] if len(node.constants) > 1 else np.zeros(kernel.shape[0])
    pads = node.attributes.get("pads", [0] * 4)
    stride = node.attributes.get("strides", [1, 1])
    usual = [1 if kernel.shape[-1] == 3 else 0] * 4
    if pads != usual or stride[0] != stride[1]:
        raise ValueError(
            f"{graph.path}: {node.name} has pads {pads} and strides {stride}; expected "
            f"{usual} and two equal strides"
        )
    kernel, bias, output = _take_norm_behind(graph, kernel, bias, node.output)
    return {"kernel": kernel, "bias": np.asarray(bias)}, output, stride[0]


def take_prelu(graph: Graph, source: str) -> tuple[dict, str]:
    """A PReLU's slopes, and its output."""
    node = graph.take("PRelu", source)
    return {"slope": node.constants[0].reshape(-1)}, node.output


def take_dense(graph: Graph, source: str):
    """(kernel (O, I), bias, output) of the Gemm behind a flattening.

    With the normalisation behind it, if there is one.
    """
    flattening = "Flatten" if "Flatten" in graph.ops(source) else "Reshape"
    node = graph.take("Gemm", graph.take(flattening, source).output)
    kernel = np.asarray(node.constants[0], np.float64)
    kernel = kernel if node.attributes.get("transB", 0) else kernel.T
    factors = [node.attributes.get(name, 1.0) for name in ("alpha", "beta")]
    if factors != [1.0, 1.0]:
        raise ValueError(f"{graph.path}: {node.name} has alpha, beta {factors}, not 1")
    return _take_norm_behind(graph, kernel, node.constants[1], node.output)
