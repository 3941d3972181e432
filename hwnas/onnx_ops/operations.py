"""From an ONNX file to operations: the list that `hwnas.trace` gives for the torch module behind it.

What exporters and quantizers of torch networks fold away (batch norms into convolutions, ReLUs into the ranges of int8)
is put back where the file shows it, because predictors count it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.core.ops import Op, OpList
from hwnas.errors import ModelFileError
from hwnas.onnx_ops.file import bind_inputs, clean, read_model
from hwnas.onnx_ops.kinds import CONVOLUTIONS, FREE, INTEGER, KINDS, PLACES, PRECISIONS, PRODUCERS, PRODUCTS, WEIGHTED
from hwnas.onnx_ops.patterns import Group, find_groups
from hwnas.onnx_ops.shapes import Graph, Node, Tensor, walk

__all__ = ["OnnxNetwork", "onnx_operations"]

Shape = tuple[int, ...]

# How torch's exporters name the weights that they made of a convolution and the batch norm after it.
_FOLDED = re.compile(r"onnx::Conv_\d+")
_QUANTIZED = re.compile(r"_quantized$")


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """What a file holds, at batch 1.

    Attributes:
        operations: as a trace of the network would have them; one segment.
        nodes: for each operation, the name of its node in the file.
        operators: for each operation, ONNX's name of it.
        inputs: (name, shape without the batch) of each input.
        precision: what most of its multiply-adds are computed in.
        notes: what a reader of the numbers must know, in sentences.
    """

    operations: OpList
    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    inputs: tuple[tuple[str, Shape], ...]
    precision: str
    notes: tuple[str, ...]


def onnx_operations(path: Path, input_shapes: Sequence[Shape] = ()) -> OnnxNetwork:
    """Operations of an ONNX file at batch 1; nothing is run, weights are not read, no other file is opened.

    Shape arithmetic and what depends on weights alone are no operations. What is not known is of kind "other", its
    `detail` the operator's name.

    Args:
        path: the file.
        input_shapes: shapes without the batch of the first inputs, where the file leaves more than the batch open.
    Raises:
        ModelFileError: it is missing, damaged or no ONNX file; an input's shape is not fixed; a shape cannot be found.
    """
    model = read_model(path)
    graph = walk(path, model, bind_inputs(path, model.graph, input_shapes))
    recorder = _Recorder(graph)
    for node in graph.nodes:
        try:
            recorder.record(node)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{path}: node {node.name!r} ({node.operator}) lacks an input or an attribute, or has one of another "
                f"type or shape ({clean(str(error))}); export the network again"
            ) from error
    ops = recorder.finish()
    if not ops:
        raise ModelFileError(f"{path} holds no operation that depends on its input; export the network again")
    votes: Counter[str] = Counter()
    for op in ops:
        votes[op.precision] += op.macs + 1
    return OnnxNetwork(
        OpList.of(ops),
        tuple(node.name for node in recorder.nodes),
        tuple(recorder.operators),
        tuple((clean(name), shape[1:]) for name, shape in graph.inputs.items()),
        votes.most_common(1)[0][0],
        tuple(graph.notes),
    )


def _unbatched(shape: Shape) -> Shape:
    """Shape without the batch of 1; whole where the batch was merged with another dimension."""
    return shape[1:] if shape and shape[0] == 1 else shape


def _pair(values: Sequence[int]) -> tuple[int, int]:
    sizes = [int(v) for v in values]
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[-2], sizes[-1])


class _Recorder:
    """Turns nodes into operations, in order, and keeps who wrote each tensor."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.tensors = graph, graph.tensors
        self.groups = find_groups(graph)
        self.ops: list[Op] = []
        self.nodes: list[Node] = []
        self.operators: list[str] = []
        self.reads: list[tuple[int, ...]] = []
        self.ahead: list[bool] = []
        # tensor -> position of the operation behind it; -1: an input, -2: depends on no input
        self.writer = dict.fromkeys(graph.inputs, -1)
        self.counted: set[str] = set()  # a shared weight counts once
        self.moved: set[str] = set()  # tensors whose elements lie in another order than their dimensions
        self.low: set[str] = set()  # tensors that hold what int8 operations wrote
        self.requantized = self._upstream_of_quantizers()
        self.readers: dict[str, list[Node]] = {}
        for node in graph.nodes:
            for name in (*node.inputs, *node.captured):
                self.readers.setdefault(name, []).append(node)

    def _upstream_of_quantizers(self) -> set[str]:
        """Tensors whose values reach a QuantizeLinear."""
        reached: set[str] = set()
        for node in reversed(self.graph.nodes):
            if node.operator == "QuantizeLinear" or reached.intersection(node.outputs):
                reached.update(node.inputs)
        return reached

    def record(self, node: Node) -> None:
        """Add a node's operation, if it is one."""
        group = self.groups.get(node)
        if group is not None and node is not group.final:
            return
        if group is None and self._is_free(node):
            self._relabel(node)
            if not self._copies(node):
                return
        main = node if group is None else group.main
        sources = self._sources(node) if group is None else [group.source]
        constants = [n for n in node.inputs if n and self.tensors[n].constant] if group is None else list(group.weights)
        op = self._operation(node, main, group, sources, constants)
        captured = [name for name in node.captured if not self.tensors[name].constant]
        self._append(op, node, main.operator, [self.writer.get(name, -2) for name in (*sources, *captured)])
        if main.operator == "Conv" and self._had_norm(main):
            shape = op.output
            norm = Op("norm", (shape,), shape, params=2 * shape[0], precision=op.precision, detail="native_batch_norm")
            self._append(norm, node, "BatchNormalization", [len(self.ops) - 1])
        if op.precision == "int8" and op.kind in PRODUCERS and self._clips(node.outputs[0]):
            shape = op.output
            relu = Op("activation", (shape,), shape, precision="int8", detail="relu")
            self._append(relu, node, "Relu", [len(self.ops) - 1])
        for name in node.outputs:
            self.writer[name] = len(self.ops) - 1
            if op.precision == "int8":
                self.low.add(name)

    def finish(self) -> list[Op]:
        """All operations; those that no output depends on, or that depend on no input, are not live."""
        needed = {self.writer.get(name, -2) for name in self.graph.outputs}
        for position in reversed(range(len(self.ops))):
            if position in needed:
                needed.update(self.reads[position])
        return [replace(op, live=self.ahead[at] and at in needed) for at, op in enumerate(self.ops)]

    def _append(self, op: Op, node: Node, operator: str, reads: Sequence[int]) -> None:
        self.ops.append(replace(op, reads=tuple(reads[: len(op.inputs)])))
        self.nodes.append(node)
        self.operators.append(operator)
        self.reads.append(tuple(reads))
        self.ahead.append(any(at == -1 or (at >= 0 and self.ahead[at]) for at in reads))

    def _sources(self, node: Node) -> list[str]:
        return [name for name in node.inputs if name and not self.tensors[name].constant]

    def _clips(self, name: str) -> bool:
        """Whether a tensor is only read by a quantizer that keeps nothing below 0: it took a ReLU's place."""
        readers = self.readers.get(name, [])
        if len(readers) != 1 or readers[0].operator != "QuantizeLinear" or len(readers[0].inputs) < 3:
            return False
        zero = self.tensors[readers[0].inputs[2]].value if readers[0].inputs[2] else None
        if zero is None or zero.dtype.kind not in "iu":
            return False
        return bool((zero == np.iinfo(zero.dtype).min).all())

    def _is_free(self, node: Node) -> bool:
        if not self._sources(node) and not node.captured:
            return True  # it fills a tensor that no input reaches
        if node.operator == "Gather":
            return self.tensors[node.inputs[1]].constant  # a selection, as a slice is
        if node.operator == "Concat":
            return len(self._sources(node)) == 1 and len(node.inputs) == 1
        return node.operator in FREE or (node.operator == "Pad" and self._pads_nothing(node))

    def _pads_nothing(self, node: Node) -> bool:
        """Whether a Pad adds nothing, or is the padding of an average pool, which exporters write apart."""
        if self.tensors[node.outputs[0]].shape == self.tensors[node.inputs[0]].shape:
            return True
        readers = self.readers.get(node.outputs[0])
        if not readers or any(reader.operator != "AveragePool" for reader in readers):
            return False
        self.tensors[node.outputs[0]] = self.tensors[node.inputs[0]]  # the pool reads what is not padded
        return True

    def _copies(self, node: Node) -> bool:
        """Whether a node that is free for itself must copy: new dimensions over an order that a transpose changed."""
        sources = self._sources(node)
        if not sources:
            return False
        before, after = self.tensors[sources[0]].shape, self.tensors[node.outputs[0]].shape
        if node.operator == "Reshape" and math.prod(before) != math.prod(after):
            raise ValueError(f"{math.prod(before)} elements reshaped to {math.prod(after)}")
        if node.operator == "Transpose":
            order = [at for at in node.attributes.get("perm", range(len(before))[::-1]) if before[at] > 1]
            if sources[0] in self.moved or order != sorted(order):
                self.moved.update(node.outputs)
        elif sources[0] in self.moved:
            if node.operator in ("Reshape", "Flatten") and [n for n in before if n > 1] != [n for n in after if n > 1]:
                return True
            self.moved.update(node.outputs)
        return False

    def _relabel(self, node: Node) -> None:
        source = next(iter(self._sources(node)), "")
        for name in node.outputs:
            self.writer[name] = self.writer.get(source, -2)
            if source in self.low or node.operator in ("QuantizeLinear", "DequantizeLinear"):
                self.low.add(name)

    def _operation(
        self, node: Node, main: Node, group: Group | None, sources: Sequence[str], constants: Sequence[str]
    ) -> Op:
        """The operation of a node or a group, without its data flow."""
        inputs = tuple(_unbatched(self.tensors[name].shape) for name in sources)
        out = self.tensors[node.outputs[0]]
        precision = self._precision(node, main, sources)
        if main.operator in CONVOLUTIONS:
            return self._convolution(main, inputs, out, precision)
        if main.operator in PRODUCTS:
            return self._product(main, group, inputs, out, precision)
        kind, detail = (group.kind, group.detail) if group is not None else self._kind(node)
        if kind in WEIGHTED or node.operator == "PRelu":
            held = constants[:2] if main.operator == "BatchNormalization" else constants  # not mean and variance
            params = self._params([name for name in held if math.prod(self.tensors[name].shape) > 1])
        else:
            params = 0
        kernel = stride = (1, 1)
        if kind == "pool":
            kernel = _pair(node.attributes.get("kernel_shape", (1, 1)))
            stride = _pair(node.attributes.get("strides", (1, 1)))
        shape = _unbatched(out.shape)
        if group is not None:
            inputs = (shape,)  # what it reads may be a view of another shape
        elif node.operator in ("Reshape", "Flatten"):
            shape = inputs[0]
        return Op(kind, inputs, shape, kernel, stride, params=params, precision=precision, detail=detail)

    def _kind(self, node: Node) -> tuple[str, str]:
        if node.operator == "Gather" and self.tensors[node.inputs[0]].constant:
            return "embedding", "embedding"
        if node.operator in ("Reshape", "Flatten"):
            return "layout", "clone"
        if node.operator == "Clip":
            bounds = [self._bound(node, at, key) for at, key in ((1, "min"), (2, "max"))]
            return "activation", "hardtanh" if all(math.isfinite(bound) for bound in bounds) else "clamp"
        if node.operator in ("Resize", "Upsample") and node.attributes.get("mode", b"nearest") != b"nearest":
            return "resize", "upsample_bilinear2d"
        return KINDS.get(node.operator, ("other", node.operator))

    def _bound(self, node: Node, place: int, key: str) -> float:
        if key in node.attributes:
            return float(node.attributes[key])
        name = node.inputs[place] if len(node.inputs) > place else ""
        value = self.tensors[name].value if name else None
        return math.inf if value is None or not value.size else float(value.ravel()[0])

    def _params(self, names: Sequence[str]) -> int:
        roots = frozenset[str]().union(*(self.tensors[name].roots for name in names if name)) - self.counted
        self.counted |= roots
        return sum(self.graph.sizes[root] for root in roots)

    def _weight(self, main: Node, which: int) -> str:
        """Name of a node's weights (0) or bias (1); "" if it has none."""
        place = PLACES.get(main.operator, (1, 2))[which]
        return main.inputs[place] if place is not None and len(main.inputs) > place else ""

    def _had_norm(self, node: Node) -> bool:
        """Whether an exporter of torch folded a batch norm into a convolution: it renames the weights."""
        bias = self._weight(node, 1)
        if not bias:
            return False
        weight, bias = self._root(self._weight(node, 0)), self._root(bias)
        return bool(_FOLDED.match(weight) and _FOLDED.match(bias)) or bias == f"{node.inputs[0]}_bias"

    def _root(self, name: str) -> str:
        return _QUANTIZED.sub("", min(self.tensors[name].roots, default=name))

    def _convolution(self, node: Node, inputs: tuple[Shape, ...], out: Tensor, precision: str) -> Op:
        weight, shape = self.tensors[self._weight(node, 0)], _unbatched(out.shape)
        kernel, groups = _pair(weight.shape[2:]), int(node.attributes.get("group", 1))
        if groups == 1:
            kind = "pointwise" if kernel == (1, 1) else "conv"
        else:
            kind = "depthwise" if groups == inputs[0][0] else "grouped"
        if node.operator != "ConvTranspose" and weight.shape[1] * groups != inputs[0][0]:
            raise ValueError(f"weights for {weight.shape[1] * groups} channels on {inputs[0][0]}")
        folded = node.operator == "Conv" and self._had_norm(node)
        params = self._params([self._weight(node, 0)])
        bias = self._params([self._weight(node, 1)])  # of a folded norm: counted there
        spatial = inputs[0][1:] if node.operator == "ConvTranspose" else shape[1:]
        stride = _pair(node.attributes.get("strides", (1, 1)))
        return Op(
            kind,
            inputs[:1],
            shape,
            kernel,
            stride,
            groups,
            macs=math.prod(weight.shape) * math.prod(spatial),
            params=params + (0 if folded else bias),
            precision=precision,
            detail="convolution",
        )

    def _product(self, main: Node, group: Group | None, inputs: tuple[Shape, ...], out: Tensor, precision: str) -> Op:
        left = self.tensors[main.inputs[0]].shape
        depth = left[0] if main.attributes.get("transA") else left[-1]
        places = [main.inputs[0], self._weight(main, 0), self._weight(main, 1), *(group.weights if group else ())]
        constants = [name for name in places if name and self.tensors[name].constant]
        kind = "linear" if len(self._sources(main)) == 1 else "matmul"
        biased = group is not None or (main.operator == "Gemm" and len(main.inputs) > 2)
        detail = ("addmm" if biased else "mm") if kind == "linear" else "bmm"
        macs = math.prod(out.shape) * depth
        params = self._params(constants)
        return Op(kind, inputs, _unbatched(out.shape), macs=macs, params=params, precision=precision, detail=detail)

    def _precision(self, node: Node, main: Node, sources: Sequence[str]) -> str:
        """int8 between quantizers; else by the type of what it writes, or reads if that is no number."""
        if main.operator in INTEGER:
            return "int8"
        low = bool(sources) and all(name in self.low for name in sources)
        if main.operator in CONVOLUTIONS or main.operator in PRODUCTS:
            weight = self.tensors[self._weight(main, 0)]
            if low and (weight.dequantized or not weight.constant):
                return "int8"
        elif low and not self.requantized.isdisjoint(node.outputs):
            return "int8"
        types = [self.tensors[name].type for name in (*node.outputs[:1], *sources)]
        return next((PRECISIONS[found] for found in types if found in PRECISIONS), "fp32")
