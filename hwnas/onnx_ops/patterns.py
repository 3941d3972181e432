"""Several nodes that are one operation: what exporters take apart, and runtimes put together again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hwnas.onnx_ops.shapes import Graph, Node

__all__ = ["Group", "find_groups"]

_LARGEST = 12  # nodes of a pattern
# They hand on the values that they read, in the same order.
_SAME = {
    "Cast", "DequantizeLinear", "Dropout", "Flatten", "Identity", "QuantizeLinear", "Reshape", "Squeeze", "Unsqueeze",
}  # fmt: skip

_NORM = {"ReduceMean": 2, "Add": 1, "Sqrt": 1, "Div": 1}
_AFFINE = {**_NORM, "Add": 2, "Mul": 1}
# (operators, kind, detail), each operator with how often it occurs; all read one tensor and weights or constants.
_PATTERNS: tuple[tuple[Mapping[str, int], str, str], ...] = (
    ({"Sigmoid": 1, "Mul": 1}, "activation", "silu"),
    ({"HardSigmoid": 1, "Mul": 1}, "activation", "hardswish"),
    ({"Add": 1, "Clip": 1, "Mul": 1, "Div": 1}, "activation", "hardswish"),
    ({"Add": 1, "Clip": 1, "Div": 1}, "activation", "hardsigmoid"),
    ({"Erf": 1, "Div": 1, "Add": 1, "Mul": 2}, "activation", "gelu"),
    ({"Erf": 1, "Add": 1, "Mul": 3}, "activation", "gelu"),
    ({"Tanh": 1, "Pow": 1, "Add": 2, "Mul": 4}, "activation", "gelu"),
    ({"Tanh": 1, "Add": 2, "Mul": 6}, "activation", "gelu"),
    ({"Softplus": 1, "Tanh": 1, "Mul": 1}, "activation", "mish"),
    ({"Sigmoid": 1, "Mul": 2}, "activation", "gelu"),
    ({**_NORM, "Sub": 1, "Pow": 1}, "norm", "native_layer_norm"),
    ({**_NORM, "Sub": 2, "Pow": 1}, "norm", "native_layer_norm"),
    ({**_NORM, "Sub": 1, "Mul": 1}, "norm", "native_layer_norm"),
    ({**_NORM, "Sub": 1, "Pow": 1, "Mul": 1}, "norm", "native_layer_norm"),
    ({**_AFFINE, "Sub": 1, "Pow": 1}, "norm", "native_layer_norm"),
    ({**_AFFINE, "Sub": 2, "Pow": 1}, "norm", "native_layer_norm"),
    ({**_AFFINE, "Sub": 1, "Mul": 2}, "norm", "native_layer_norm"),
    ({"InstanceNormalization": 1, "Mul": 1, "Add": 1}, "norm", "native_group_norm"),
    ({"Pow": 1, "ReduceMean": 1, "Add": 1, "Sqrt": 1, "Div": 1, "Mul": 1}, "norm", "rms_norm"),
    ({"Pow": 1, "ReduceMean": 1, "Add": 1, "Sqrt": 1, "Div": 1, "Mul": 2}, "norm", "rms_norm"),
    ({"Pow": 1, "ReduceMean": 1, "Add": 1, "Sqrt": 1, "Reciprocal": 1, "Mul": 2}, "norm", "rms_norm"),
)
_BY_SIGNATURE = {frozenset(operators.items()): (kind, detail) for operators, kind, detail in _PATTERNS}
_INSIDE = {operator for operators, _, _ in _PATTERNS for operator in operators}
_ENDS = {"Mul", "Div", "Add"}
# Their only product is of two tensors; with a constant it would be a scale.
_GATED = ({"Sigmoid", "Mul"}, {"HardSigmoid", "Mul"}, {"Softplus", "Tanh", "Mul"})


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Nodes that are one operation.

    Attributes:
        members: all of them.
        final: the one whose output it writes.
        main: the one that does the work; `final`, if they share it.
        kind, detail: of the operation; "" where `main` says it.
        source: name of the tensor that it reads.
        weights: names of the constants that it reads.
    """

    members: frozenset[Node]
    final: Node
    main: Node
    kind: str
    detail: str
    source: str
    weights: tuple[str, ...]


class _Flow:
    """Who writes and who reads each tensor, looking through nodes that only hand it on."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = graph.tensors
        self.same: dict[str, str] = {}
        self.writer: dict[str, Node] = {}
        self.readers: dict[str, list[Node]] = {}
        self.kept = set()
        for node in graph.nodes:
            if node.operator in _SAME:
                self.same[node.outputs[0]] = self.origin(node.inputs[0])
                continue
            self.writer.update(dict.fromkeys(node.outputs, node))
            for name in (*node.inputs, *node.captured):
                self.readers.setdefault(self.origin(name), []).append(node)
        self.kept = {self.origin(name) for name in graph.outputs}
        self.order = {node: number for number, node in enumerate(graph.nodes)}

    def origin(self, name: str) -> str:
        return self.same.get(name, name)

    def sources(self, node: Node) -> list[str]:
        """Names of the tensors that a node reads and that are not constant."""
        return [name for name in node.inputs if name and not self.tensors[name].constant]


def find_groups(graph: Graph) -> dict[Node, Group]:
    """Node -> the group that it belongs to; the nodes of a group have no reader outside it but the last one."""
    flow = _Flow(graph)
    found: dict[Node, Group] = {}
    for node in reversed(graph.nodes):
        if node in found or node.operator not in _ENDS:
            continue
        group = _biased(flow, node) or _grow(flow, node)
        if group is not None:
            found.update(dict.fromkeys(group.members, group))
    return found


def _biased(flow: _Flow, node: Node) -> Group | None:
    """A matrix product with weights, then the sum with a bias: what a linear layer of a sequence becomes."""
    sources = flow.sources(node)
    constants = tuple(name for name in node.inputs if name and flow.tensors[name].constant)
    if node.operator != "Add" or len(sources) != 1 or not constants or not flow.tensors[constants[0]].roots:
        return None
    product = flow.writer.get(flow.origin(sources[0]))
    if (
        product is None
        or product.operator not in ("MatMul", "MatMulInteger")
        or not _only_inside(flow, product, {node})
    ):
        return None
    inputs = flow.sources(product)
    if len(inputs) != 1 or flow.tensors[constants[0]].shape != flow.tensors[product.outputs[0]].shape[-1:]:
        return None
    weights = tuple(name for name in product.inputs if name and flow.tensors[name].constant)
    return Group(frozenset({node, product}), node, product, "", "", inputs[0], (*weights, *constants))


def _only_inside(flow: _Flow, node: Node, members: set[Node]) -> bool:
    """Whether nobody but `members` reads what a node writes."""
    names = {flow.origin(name) for name in node.outputs if name}
    return not names & flow.kept and all(set(flow.readers.get(name, ())) <= members for name in names)


def _grow(flow: _Flow, final: Node) -> Group | None:
    """The smallest group that ends here and is a pattern; nodes are added from the last one backwards."""
    members = {final}
    while len(members) <= _LARGEST:
        leaves: dict[str, str] = {}
        inner = {flow.origin(name) for member in members for name in member.outputs}
        for member in members:
            for name in flow.sources(member):
                if flow.origin(name) not in inner:
                    leaves.setdefault(flow.origin(name), name)
        signature = frozenset(Counter(member.operator for member in members).items())
        known = _BY_SIGNATURE.get(signature)
        gated = {member.operator for member in members} in _GATED
        if len(leaves) == 1 and known and (not gated or len(flow.sources(final)) == 2):
            return _group(flow, final, members, next(iter(leaves.values())), *known)
        writers = [flow.writer[name] for name in leaves if name in flow.writer]
        inside = [node for node in writers if node.operator in _INSIDE and _only_inside(flow, node, members)]
        if not inside or len(leaves) > 3:
            return None
        members.add(max(inside, key=flow.order.__getitem__))
    return None


def _group(flow: _Flow, final: Node, members: set[Node], source: str, kind: str, detail: str) -> Group:
    constants = [
        name
        for member in sorted(members, key=flow.order.__getitem__)
        for name in member.inputs
        if name and flow.tensors[name].constant
    ]
    return Group(frozenset(members), final, final, kind, detail, source, tuple(constants))
