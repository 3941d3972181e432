"""What OpenVINO really runs: its graph after compiling, and the time of each operation, by its own profiler."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from hwnas.core.graph_record import GraphRecord
from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import InputArray, as_input
from hwnas.errors import RuntimeExportError
from hwnas.runtimes.recorded import plain_precision

__all__ = ["graph_record", "profile"]

_NO_OPERATION = ("Const", "Input", "Output")
_COMPUTE = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")
_BIASED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_KINDS = {
    "FullyConnected": "linear",
    "MatMul": "matmul",
    "Reduce": "reduce",
    "Pooling": "pool",
    "Softmax": "softmax",
    "Eltwise": "elementwise",
    "Math": "elementwise",
    "MVN": "norm",
    "Concatenation": "concat",
    "Gather": "embedding",
    "Interpolate": "resize",
    "ScaledDotProductAttention": "matmul",
}


def graph_record(path: Path, compiled: Any) -> GraphRecord:
    """Operations of an ONNX file, and those of the compiled model.

    Raises:
        Exception: whatever onnx and OpenVINO raise; see `attempted`.
    """
    import onnx

    nodes = [node for node in onnx.load(str(path)).graph.node if node.op_type != "Constant"]
    # OpenVINO names an operation by its node, or by its output where that is one of the network.
    kinds = {node.name: node.op_type for node in nodes} | {node.output[0]: node.op_type for node in nodes}
    after: Counter[str] = Counter()
    fused: Counter[str] = Counter()
    precisions: Counter[str] = Counter()
    for op in compiled.get_runtime_model().get_ordered_ops():
        info = {key: value.astype(str) for key, value in op.get_rt_info().items()}
        layer = info["layerType"]
        if layer in _NO_OPERATION:
            continue
        precision = _computed_in(info)
        after[f"{layer} {precision}"] += 1
        if layer in _COMPUTE:
            precisions[precision] += 1
        others = [kinds.get(name) for name in info.get("originalLayersNames", "").split(",")[1:]]
        # A bias has the name of the operation that it belongs to.
        if merged := [kind for kind in others if kind is not None and kind not in _BIASED]:
            fused[" + ".join([layer, *merged])] += 1
    before = Counter(node.op_type for node in nodes)
    return GraphRecord(before=before, after=after, fused=fused, precisions=precisions)


def _computed_in(info: dict[str, str]) -> str:
    # The type that `runtimePrecision` names is that of the input; the kernel's own name says what it multiplies in:
    # "brgconv_avx512_dw_f32" on 8-bit data is a kernel that converts them first.
    return plain_precision(info.get("primitiveType", "").rpartition("_")[2] or info["runtimePrecision"])


def profile(
    path: Path, inputs: InputArray, *, settings: dict[str, Any], calls: int, warmup: int
) -> list[TimedOperation]:
    """See `hwnas.core.profile.Profiler`; `settings` are those that the file is loaded with."""
    import openvino

    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", settings | {"PERF_COUNT": True})
        request, values = compiled.create_infer_request(), as_input(inputs)
        seen: dict[str, list[float]] = {}
        for number in range(warmup + calls):
            request.infer([values])
            if number < warmup:
                continue
            for op in request.get_profiling_info():
                seen.setdefault(op.node_name, []).append(op.real_time.total_seconds() * 1000)
    except Exception as error:
        raise RuntimeExportError(f"openvino cannot profile {path}: {error}; export it again") from error
    found = []
    for op in compiled.get_runtime_model().get_ordered_ops():
        name = op.get_friendly_name()
        info = {key: value.astype(str) for key, value in op.get_rt_info().items()}
        if info["layerType"] in _NO_OPERATION or not any(seen.get(name, ())):
            continue  # it was merged into another, or relabels data
        shape = op.output(0).get_partial_shape()
        found.append(
            TimedOperation(
                kind=_kind(op, info["layerType"]),
                operator=f"{info['layerType']} {info.get('primitiveType', '')}".strip(),
                name=name,
                output=tuple(side.get_length() if side.is_static else -1 for side in list(shape)[1:]),
                samples_ms=tuple(seen[name]),
            )
        )
    return found


def _kind(op: Any, layer: str) -> str:
    if layer in ("Convolution", "Deconvolution"):
        weight = [side.get_length() for side in op.input(1).get_source_output().get_partial_shape()]
        if len(weight) == op.output(0).get_partial_shape().rank.get_length() + 1:  # groups first
            return "depthwise" if weight[2] == 1 else "grouped"
        return "pointwise" if all(side == 1 for side in weight[2:]) else "conv"
    return _KINDS.get(layer, "layout")
