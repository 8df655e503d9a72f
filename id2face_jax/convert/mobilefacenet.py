"""MobileFaceNet ONNX exports to our parameters, by a walk along the graph."""

from id2face_jax.convert.onnx_graph import Graph, take_conv, take_dense, take_prelu
from id2face_jax.convert.recognizers import finish, onnx_view


def from_onnx(graph: Graph):
    """(config, parameters) of a MobileFaceNet; see `models.mobilefacenet`.

    Raises ValueError, naming the node, for a graph of another architecture.
    """
    return _MobileFaceNetWalk(graph).run()


class _MobileFaceNetWalk:
    """Collects a MobileFaceNet's tensors while it walks along the graph."""

    def __init__(self, graph: Graph):
        self.graph, self.x, self.tree = graph, graph.input, {}
        self.features = 0  # channels of self.x

    def _conv(self, name: str) -> tuple[int, int]:
        """Takes a convolution; returns its features and its stride."""
        self.tree[name], self.x, stride = take_conv(self.graph, self.x)
        self.features = self.tree[name]["kernel"].shape[0]
        return self.features, stride

    def _activation(self, name: str, relu: str = "Clip") -> str:
        """Takes a PRelu, or else `relu`; returns the kind it stands for."""
        if self.graph.ops(self.x) == ["PRelu"]:
            self.tree[name], self.x = take_prelu(self.graph, self.x)
            return "prelu"
        node = self.graph.take(relu, self.x)
        if relu == "Clip" and [float(c) for c in node.constants] != [0.0, 6.0]:
            raise ValueError(f"{self.graph.path}: {node.name} is no ReLU6")
        self.x = node.output
        return "relu6"

    def _constant(self, op: str, default: float) -> float:
        if op not in self.graph.ops(self.x):
            return default
        node = self.graph.take(op, self.x)
        self.x = node.output
        return float(node.constants[0])

    def _block(self, index: int) -> tuple[int, int, int]:
        """Takes a bottleneck; returns (hidden, features, stride)."""
        start, into, tree, self.tree = self.x, self.features, self.tree, {}
        hidden, _ = self._conv("expand")
        self._activation("expand_act")
        _, stride = self._conv("depthwise")
        self._activation("depthwise_act")
        features, _ = self._conv("project")
        # Our bottleneck adds its input wherever the shapes allow.
        if stride == 1 and features == into:
            node = self.graph.take("Add", self.x)
            if start not in node.inputs:
                raise ValueError(f"{self.graph.path}: {node.name} skips elsewhere")
            self.x = node.output
        tree[f"block_{index}"], self.tree = self.tree, tree
        return hidden, features, stride

    def _is_last(self) -> bool:
        """Whether the next pointwise layer leads to the contracting convolution."""
        ahead = self.graph.ahead(self.x, 3)
        return (
            ahead is not None
            and ahead.op == "Conv"
            and ahead.constants[0].shape[-1] != 3
        )

    def run(self):
        """Returns (config, parameters)."""
        offset, scale = self._constant("Sub", 0.0), self._constant("Mul", 1.0)
        stem, _ = self._conv("stem")
        activation = self._activation("stem_act")
        self._conv("stem_depthwise")
        self._activation("stem_depthwise_act", "Relu")
        ahead = self.graph.ahead(self.x, 2)
        projects = ahead is not None and ahead.op == "Relu"
        if projects:
            self._conv("stem_project")
            self._activation("stem_project_act", "Relu")
        blocks = []
        while not self._is_last():
            blocks.append(self._block(len(blocks)))
        last, _ = self._conv("expand")
        self._activation("expand_act")
        self._conv("contract")
        self.tree["project"] = self._project()
        dim = self.tree["project"]["kernel"].shape[0]
        fields = {
            "kind": "mobilefacenet",
            "stem": stem,
            "stem_projects": projects,
            "blocks": tuple(blocks),
            "last": last,
            "dim": dim,
            "activation": activation,
            "offset": offset,
            "scale": scale,
        }
        path = self.graph.path
        return finish(fields, self.tree, str(path), onnx_view(path))

    def _project(self) -> dict:
        """The last layer, a 1x1 convolution or a Gemm, and the normalisation behind."""
        graph = self.graph
        if graph.ops(self.x) == ["Conv"]:
            layer, self.x, _ = take_conv(graph, self.x)
            graph.finish(graph.take("Reshape", self.x).output)
            return layer
        kernel, bias, self.x = take_dense(graph, self.x)
        graph.finish(self.x)
        return {"kernel": kernel, "bias": bias}
