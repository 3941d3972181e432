"""What ONNX Runtime really runs: its graph after all rewriting, and the time of each operation, by its own profiler."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.graph_record import GraphRecord
from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import InputArray, as_input
from hwnas.errors import MeasurementError, RuntimeExportError
from hwnas.onnx_ops.kinds import KINDS, PLACES
from hwnas.runtimes.recorded import fused_away, plain_precision

__all__ = ["graph_record", "profile"]

_NO_OPERATION = {"Constant"}
# What counts as a convolution, linear layer or matrix product, in the words of ONNX.
_COMPUTE = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Attention"}
# Operators of onnxruntime's own -> what they are in ONNX; others of its own speak for themselves.
_OWN = {
    "FusedConv": "Conv",
    "FusedGemm": "Gemm",
    "FusedMatMul": "MatMul",
    "QGemm": "Gemm",
    "QAttention": "Attention",
    "ConvInteger": "Conv",
    "MatMulInteger": "MatMul",
    "MatMulIntegerToFloat": "MatMul",
    "DynamicQuantizeMatMul": "MatMul",
    "NhwcFusedConv": "Conv",
    "QLinearConv": "Conv",
    "QLinearMatMul": "MatMul",
}
Node = Any  # an onnx.NodeProto


def _plain(operator: str) -> str:
    return _OWN.get(operator, operator.removeprefix("QLinear"))


def _is_int8(operator: str) -> bool:
    return operator != _plain(operator) and ("Q" in operator or "Integer" in operator)


def graph_record(path: Path, provider: str) -> GraphRecord:
    """Operations of a file, and those that a provider runs of it; the file is run once.

    Raises:
        Exception: whatever onnx and onnxruntime raise; see `attempted`.
    """
    import onnx
    import onnxruntime

    written = onnx.load(str(path))
    before = Counter(node.op_type for node in written.graph.node if node.op_type not in _NO_OPERATION)
    if provider not in onnxruntime.get_available_providers():
        return GraphRecord(before=before, notes=(f"what {provider} makes of the file is seen where it is installed",))
    events, graph = _traced(path, provider, None, threads=1, calls=1)
    precisions = Counter(
        "int8" if _is_int8(operator) else plain_precision(_first_type(event))
        for event in events
        if _plain(operator := event["args"]["op_name"]) in _COMPUTE
    )
    return GraphRecord(
        before=before,
        after=Counter(node.op_type for node in graph.node),
        fused=fused_away(before, (_plain(node.op_type) for node in graph.node), map(_group, graph.node)),
        precisions=precisions,
    )


def profile(
    path: Path, inputs: InputArray, *, provider: str, threads: int, calls: int, warmup: int
) -> list[TimedOperation]:
    """See `hwnas.core.profile.Profiler`."""
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise MeasurementError(f"{provider} is not installed here, and the CPU's times would be of something else")
    try:
        events, graph = _traced(path, provider, as_input(inputs), threads=threads, calls=warmup + calls)
    except Exception as error:
        raise RuntimeExportError(f"onnxruntime cannot profile {path}: {error}; export it again") from error
    nodes = {node.name: node for node in graph.node if node.name}
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    rows: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        rows.setdefault(event["args"]["node_index"], []).append(event)
    found = []
    for of_node in rows.values():
        first, name = of_node[0]["args"], of_node[0]["name"].removesuffix("_kernel_time")
        node = nodes.get(name)
        shape = next(iter(first["output_type_shape"][0].values()), None) if first["output_type_shape"] else None
        found.append(
            TimedOperation(
                kind=_kind(first["op_name"], node, weights),
                operator=" + ".join([first["op_name"], *(_group(node)[1:] if node is not None else ())]),
                name=name,
                output=None if shape is None else tuple(shape[1:]),
                samples_ms=tuple(event["dur"] / 1000 for event in of_node[warmup:]),
            )
        )
    return found


def _traced(
    path: Path, provider: str, inputs: InputArray | None, *, threads: int, calls: int
) -> tuple[list[dict[str, Any]], Any]:
    """Events of all operations in the order of time, and the graph after rewriting.

    Args:
        inputs: None: zeros of the shape that the file names, one sample.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "trace")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        providers = list(dict.fromkeys([provider, "CPUExecutionProvider"]))
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        given = session.get_inputs()[0]
        if inputs is None:
            shape = [side if isinstance(side, int) else 1 for side in given.shape]
            inputs = np.zeros(shape, np.int64 if given.type == "tensor(int64)" else np.float32)
        for _ in range(calls):
            session.run(None, {given.name: inputs})
        trace = json.loads(Path(session.end_profiling()).read_bytes())
        graph = onnx.load(str(options.optimized_model_filepath)).graph
    events = [event for event in trace if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    return events, graph


def _first_type(event: dict[str, Any]) -> str:
    return str(next(iter(event["args"]["input_type_shape"][0])))


def _group(node: Node) -> tuple[str, ...]:
    """What runs as one, the node itself first: sums before activations, as onnxruntime computes them."""
    group = [_plain(node.op_type)]
    if node.op_type in ("Conv", "FusedConv", "NhwcFusedConv") and len(node.input) > 3 and node.input[3]:
        group.append("Add")
    group += [a.s.decode() for a in node.attribute if a.name == "activation" and a.s]
    if node.op_type.startswith("QLinear") or node.op_type == "QGemm":
        group.append("QuantizeLinear")
    return tuple(group)


def _kind(operator: str, node: Node | None, weights: Mapping[str, tuple[int, ...]]) -> str:
    """One of `KINDS` of hwnas; what is not in ONNX's list of them moves or converts data, or is the runtime's own."""
    plain = _plain(operator)
    if plain == "Conv" and node is not None:
        weight = weights.get(node.input[PLACES.get(operator, (1, None))[0]], ())
        if next((a.i for a in node.attribute if a.name == "group"), 1) > 1:
            return "depthwise" if weight[1:2] == (1,) else "grouped"
        return "pointwise" if weight and set(weight[2:]) <= {1} else "conv"
    if plain == "MatMul" and node is not None and not any(name in weights for name in node.input):
        return "matmul"
    return KINDS[plain][0] if plain in KINDS else "layout"
