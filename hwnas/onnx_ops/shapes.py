"""The shape of every tensor of a graph, and what is known before it runs: onnx's inference, and a walk beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ModelFileError
from hwnas.onnx_ops.constants import MAX_ELEMENTS, evaluate
from hwnas.onnx_ops.file import Inputs, clean
from hwnas.onnx_ops.order import captured_names, sort_nodes

__all__ = ["Graph", "Node", "Tensor", "walk"]

Shape = tuple[int, ...]

# Operators of onnxruntime that are an ONNX operator by another name, or with something fused into it.
_ALSO = {
    "BiasGelu": "Gelu",
    "FastGelu": "Gelu",
    "FusedConv": "Conv",
    "FusedMatMul": "MatMul",
    "Gelu": "Gelu",
    "QuickGelu": "Gelu",
    "SimplifiedLayerNormalization": "LayerNormalization",
    "SkipLayerNormalization": "LayerNormalization",
    "SkipSimplifiedLayerNormalization": "LayerNormalization",
}
# What they write has the shape of their first input; onnx's own inference does not know all of them.
_SAME_SHAPE = {
    "BatchNormalization", "Celu", "Clip", "Dropout", "Elu", "Gelu", "GroupNormalization", "HardSigmoid", "HardSwish",
    "InstanceNormalization", "LayerNormalization", "LeakyRelu", "LogSoftmax", "MeanVarianceNormalization", "Mish",
    "RMSNormalization", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Swish", "Tanh",
}  # fmt: skip
_RANDOM = {"RandomNormal", "RandomUniform"}
_INT32, _INT64 = 6, 7  # TensorProto.DataType
_NO_WEIGHTS = {_INT64, 8, 9}  # integers that index, text, truth values
_ERRORS = (RuntimeError, ValueError, TypeError, KeyError, IndexError)


@dataclass(slots=True)
class Tensor:
    """What is known of one tensor at batch 1.

    Attributes:
        shape: with the batch.
        type: a `TensorProto.DataType`.
        constant: known before the network runs: a weight, a shape, or computed from such.
        value: of a small constant; None: not kept.
        open: computed from a shape that the file leaves open, so that a runtime cannot compute it when it loads.
        roots: names of the initializers with weights that it is made of.
        dequantized: a weight that is stored in integers.
    """

    shape: Shape
    type: int
    constant: bool = False
    value: NDArray[Any] | None = None
    open: bool = False
    roots: frozenset[str] = frozenset()
    dequantized: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One node that runs.

    Attributes:
        operator: ONNX's name; with its domain in front if it is not ONNX's own.
        name: for messages.
        inputs, outputs: names of tensors; "" is an input that is left out.
        attributes: as onnx reads them.
        captured: what the graphs in its attributes read from outside.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    captured: tuple[str, ...] = ()


@dataclass(slots=True)
class Graph:
    """A network at batch 1.

    Attributes:
        nodes: those that run, in order; what only handles shapes and weights is computed already.
        tensors: of every name that a node reads or writes.
        sizes: elements of each initializer that holds weights.
        inputs: name -> shape with the batch.
        outputs: names.
        notes: what a reader of the numbers must know.
    """

    nodes: list[Node]
    tensors: dict[str, Tensor]
    sizes: dict[str, int]
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    opset: int
    notes: list[str] = field(default_factory=list)


def walk(path: Path, model: Any, inputs: Inputs) -> Graph:
    """Find the shape of every tensor; what depends on shapes and weights alone is no operation.

    Args:
        path: for messages.
        model: as `read_model` gives it, its inputs bound; it is changed.
    Raises:
        ModelFileError: a shape cannot be found; the message names the node.
    """
    graph = Graph([], {}, {}, inputs.shapes, tuple(v.name for v in model.graph.output), _cap_opset(model))
    newest = _newest_opset()
    if graph.opset > newest:
        graph.notes.append(f"opset {graph.opset} is newer than the installed onnx knows; read as opset {newest}")
    sort_nodes(model.graph)
    inference = _Inference(path, model, inputs)
    for value in model.graph.input:
        if value.name in inputs.shapes:
            graph.tensors[value.name] = Tensor(inputs.shapes[value.name], value.type.tensor_type.elem_type)
    _add_weights(model.graph, graph)
    for number, proto in enumerate(model.graph.node):
        _visit(graph, inference, proto, _node(proto, number))
    for name in graph.outputs:
        if name not in graph.tensors:
            raise ModelFileError(f"{path}: no node writes the output {clean(name)!r}; export the network again")
    return graph


@cache
def _newest_opset() -> int:
    import onnx

    return int(onnx.defs.onnx_opset_version())


def _cap_opset(model: Any) -> int:
    """The file's opset; one that is newer than onnx knows is read as the newest that it knows."""
    found = 0
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            found = int(entry.version)
            entry.version = min(found, _newest_opset())
    if not found:
        model.opset_import.add(domain="", version=_newest_opset())
    return found or _newest_opset()


def _add_weights(source: Any, graph: Graph) -> None:
    from onnx import numpy_helper

    for tensor in source.initializer:
        shape = tuple(int(size) for size in tensor.dims)
        value = None
        if any(len(getattr(tensor, name)) for name in ("raw_data", "float_data", "int32_data", "int64_data")):
            try:
                value = numpy_helper.to_array(tensor)
            except _ERRORS:  # its data are damaged; only a shape would be missed
                value = None
        _add_weight(graph, tensor.name, shape, tensor.data_type, math.prod(shape), value)
    for sparse in source.sparse_initializer:
        shape = tuple(int(size) for size in sparse.dims)
        _add_weight(graph, sparse.values.name, shape, sparse.values.data_type, math.prod(sparse.values.dims), None)


def _add_weight(
    graph: Graph, name: str, shape: Shape, data_type: int, elements: int, value: NDArray[Any] | None
) -> None:
    roots: frozenset[str] = frozenset()
    if shape and data_type not in _NO_WEIGHTS:
        roots, graph.sizes[name] = frozenset({name}), elements
    graph.tensors[name] = Tensor(shape, data_type, True, value, roots=roots)


def _node(proto: Any, number: int) -> Node:
    from onnx import helper

    domain = "" if proto.domain == "ai.onnx" else proto.domain
    operator = proto.op_type
    if domain == "com.microsoft" and operator in _ALSO:
        operator, domain = _ALSO[operator], ""
    attributes = {}
    for attribute in proto.attribute:
        try:
            attributes[attribute.name] = helper.get_attribute_value(attribute)
        except ValueError:  # of a type that onnx does not know
            continue
    name = clean(proto.name) or f"{clean(proto.op_type)} number {number}"
    shown = clean(f"{domain}.{operator}" if domain else operator)
    captured = tuple(captured_names(proto))
    return Node(shown, name, tuple(proto.input), tuple(proto.output), attributes, captured)


def _visit(graph: Graph, inference: _Inference, proto: Any, node: Node) -> None:
    """Add what a node writes, and the node itself if it runs."""
    tensors = graph.tensors
    for name in (*node.inputs, *node.captured):
        if name and name not in tensors:
            raise ModelFileError(
                f"{inference.path}: node {node.name!r} ({node.operator}) reads {clean(name)!r}, whose shape is not "
                "known or which no node before it writes; export the network again"
            )
    read = [tensors[name] if name else None for name in node.inputs]
    present = [tensor for tensor in (*read, *(tensors[name] for name in node.captured)) if tensor is not None]
    if node.operator in ("Shape", "Size") and read and read[0] is not None:
        value = _shape_value(node, read[0].shape)
        opened = read[0].open or (inference.inputs.dynamic_batch and not read[0].constant)
        tensors[node.outputs[0]] = Tensor(value.shape, _INT64, True, value, open=opened)
        return
    constant = all(tensor.constant for tensor in present) and node.operator not in _RANDOM
    opened = any(tensor.open for tensor in present)
    known = _value(node, proto, read) if constant else None
    if known is not None:
        written: list[tuple[Shape, int] | None] = [(known.shape, _type_of(known))]
    else:
        written = inference.outputs(graph, node, proto, read)
    # A tensor of that rank is data: a runtime that cannot know its size when it loads fills it at every call.
    if node.operator == "ConstantOfShape" and opened and written[0] is not None and len(written[0][0]) >= 3:
        constant = False
    roots = frozenset[str]().union(*(t.roots for t in present)) if constant else frozenset[str]()
    dequantized = constant and (node.operator == "DequantizeLinear" or any(t.dequantized for t in present))
    if node.operator == "DequantizeLinear" and constant:
        roots = present[0].roots
    for name, found in zip(node.outputs, written, strict=False):
        if name and found is not None:
            tensors[name] = Tensor(*found, constant, known if constant else None, opened, roots, dequantized)
    if not constant:
        graph.nodes.append(node)


def _shape_value(node: Node, shape: Shape) -> NDArray[Any]:
    if node.operator == "Size":
        return np.array(math.prod(shape), dtype=np.int64)
    return np.array(shape[node.attributes.get("start", 0) : node.attributes.get("end")], dtype=np.int64)


def _type_of(value: NDArray[Any]) -> int:
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _value(node: Node, proto: Any, read: Sequence[Tensor | None]) -> NDArray[Any] | None:
    """What a node gives whose inputs are all constants; None if it is not known or large."""
    from onnx import numpy_helper

    if node.operator == "Constant":
        for key in ("value", "value_int", "value_float", "value_ints", "value_floats"):
            if key in node.attributes:
                held = node.attributes[key]
                if key == "value":
                    if math.prod(held.dims) > MAX_ELEMENTS or held.data_location:
                        return None
                    try:
                        return np.asarray(numpy_helper.to_array(held))
                    except _ERRORS:
                        return None
                return np.asarray(held, dtype=np.int64 if "int" in key else np.float32)
        return None
    if proto.domain not in ("", "ai.onnx") or any(t is not None and t.value is None for t in read):
        return None
    return evaluate(node.operator, [None if t is None else t.value for t in read], node.attributes)


class _Inference:
    """onnx's shape inference: over the whole graph at once, then of single nodes with what the walk knows."""

    def __init__(self, path: Path, model: Any, inputs: Inputs) -> None:
        self.path, self.inputs = path, inputs
        self._opsets = list(model.opset_import)
        self._declared = dict(self._static(model.graph))
        self._whole = self._run_whole(model)

    def outputs(
        self, graph: Graph, node: Node, proto: Any, read: Sequence[Tensor | None]
    ) -> list[tuple[Shape, int] | None]:
        """Shape and type of each output; None where an output beyond the first is not known.

        Raises:
            ModelFileError: the first output's shape is not known.
        """
        found = [self._whole.get(name) for name in node.outputs]
        if not found:
            raise ModelFileError(f"{self.path}: node {node.name!r} ({node.operator}) writes nothing; export it again")
        if found[0] is not None:
            return found
        single, reason = self._run_single(proto, node, graph.tensors)
        found = [single.get(name) or self._declared.get(name) for name in node.outputs]
        if found[0] is None and read and read[0] is not None:
            if node.operator in _SAME_SHAPE:
                found[0] = read[0].shape, read[0].type
            elif not _has_schema(proto.op_type, proto.domain):
                found[0] = read[0].shape, read[0].type
                graph.notes.append(
                    f"operator {node.operator} ({node.name}) is not known, and the file does not say what it writes: "
                    "taken to be shaped like its first input"
                )
        if found[0] is None:
            raise ModelFileError(
                f"{self.path}: the shape of what node {node.name!r} ({node.operator}) writes is not known ({reason}); "
                "cut the network off before it, or export it with fixed shapes"
            )
        return found

    def _static(self, graph: Any) -> Iterator[tuple[str, tuple[Shape, int]]]:
        """(name, shape and type) of what a graph declares, where every dimension is known."""
        for value in (*graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            if value.type.HasField("tensor_type") and tensor.HasField("shape"):
                shape = self._sizes(tensor.shape.dim)
                if shape is not None:
                    yield value.name, (shape, int(tensor.elem_type))

    def _sizes(self, dims: Sequence[Any]) -> Shape | None:
        sizes = []
        for dim in dims:
            size = dim.dim_value if dim.HasField("dim_value") else self.inputs.symbols.get(dim.dim_param, -1)
            if size < 0:
                return None
            sizes.append(int(size))
        return tuple(sizes)

    def _run_whole(self, model: Any) -> dict[str, tuple[Shape, int]]:
        import onnx

        # What a file declares may be stale or symbolic, and would be believed.
        del model.graph.value_info[:]
        for value in model.graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
        try:
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except (onnx.shape_inference.InferenceError, *_ERRORS):
            return {}  # the walk goes on node by node, and names the one that fails
        return dict(self._static(inferred.graph))

    def _run_single(
        self, proto: Any, node: Node, tensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, tuple[Shape, int]], str]:
        """What onnx infers of one node alone, and why it does not."""
        import onnx
        from onnx import helper, numpy_helper

        if not _has_schema(proto.op_type, proto.domain) and proto.domain != "com.microsoft":
            return {}, "the operator is not one of ONNX"
        alone = onnx.NodeProto()
        alone.CopyFrom(proto)
        if "." not in node.operator:
            alone.op_type, alone.domain = node.operator, ""
        names = dict.fromkeys(name for name in (*node.inputs, *node.captured) if name)
        values = [helper.make_tensor_value_info(n, tensors[n].type, tensors[n].shape) for n in names]
        known = [(n, v) for n in names if (v := tensors[n].value) is not None and v.dtype.kind in "iufb"]
        constants = [numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), n) for n, value in known]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.outputs if name]
        graph = helper.make_graph([alone], "one", values, outputs, constants)
        try:
            model = helper.make_model(graph, opset_imports=self._opsets)
            inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except (onnx.shape_inference.InferenceError, *_ERRORS) as error:
            return {}, clean(" ".join(str(error).split()))
        return dict(self._static(inferred.graph)), "it depends on the data"


@cache
def _has_schema(operator: str, domain: str) -> bool:
    import onnx

    return bool(onnx.defs.has(operator, "" if domain == "ai.onnx" else domain))
