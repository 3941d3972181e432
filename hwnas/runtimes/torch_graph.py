"""What eager PyTorch runs, which is what the program says, and the time of each operation, by torch's profiler."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from hwnas.core.graph_record import GraphRecord
from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import InputArray, as_input
from hwnas.errors import MeasurementError, RuntimeExportError
from hwnas.runtimes.exporting import no_native_stderr
from hwnas.runtimes.recorded import plain_precision

__all__ = ["graph_record", "profile"]

_COMPUTE = ("conv1d", "conv2d", "conv3d", "linear", "matmul", "bmm", "mm", "addmm", "scaled_dot_product_attention")
_KINDS = {
    **dict.fromkeys(("linear", "addmm", "mm"), "linear"),
    **dict.fromkeys(("matmul", "bmm", "scaled_dot_product_attention"), "matmul"),
    **dict.fromkeys(("batch_norm", "layer_norm", "group_norm"), "norm"),
    **dict.fromkeys(("relu", "relu_", "hardtanh", "hardtanh_", "hardswish", "hardswish_", "sigmoid"), "activation"),
    **dict.fromkeys(("hardsigmoid", "silu", "gelu", "tanh", "clamp"), "activation"),
    **dict.fromkeys(("add", "add_", "mul", "mul_", "sub", "div", "pow", "sqrt", "log", "maximum"), "elementwise"),
    **dict.fromkeys(("mean", "sum", "adaptive_avg_pool2d", "adaptive_avg_pool1d", "amax"), "reduce"),
    **dict.fromkeys(("avg_pool2d", "max_pool2d"), "pool"),
    "softmax": "softmax",
    "embedding": "embedding",
    "cat": "concat",
    "upsample_nearest2d": "resize",
}


def _short(target: object) -> str:
    """ "aten.conv2d.default", "aten::conv2d" -> "conv2d"."""
    return str(target).replace("::", ".").removeprefix("aten.").split(".")[0]


def graph_record(program: Any, *, compiled: bool) -> GraphRecord:
    """Operations of an exported program; eagerly they run as they are."""
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    before = Counter(name for node in nodes if not (name := _short(node.target)).startswith("_assert"))
    if compiled:
        return GraphRecord(
            before=before, notes=("inductor fuses operations where the file is loaded, and keeps no list",)
        )
    types = [node.args[0].meta["val"].dtype for node in nodes if _short(node.target) in _COMPUTE]
    precisions = Counter(plain_precision(str(kind).removeprefix("torch.")) for kind in types)
    return GraphRecord(before=before, after=before, fused={}, precisions=precisions)


def profile(path: Path, session: Any, inputs: InputArray, *, calls: int, warmup: int) -> list[TimedOperation]:
    """See `hwnas.core.profile.Profiler`; a session of torch that has loaded the file runs it."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    if not isinstance(getattr(session, "_module", None), torch.fx.GraphModule):
        raise MeasurementError("what inductor compiled has no profiler that tells its operations apart")
    values = as_input(inputs)
    try:
        for _ in range(warmup):
            session.run(values)
        # Its native part writes to the terminal when it starts and stops.
        with no_native_stderr(), torch_profile(activities=[ProfilerActivity.CPU], record_shapes=True) as made:
            for _ in range(calls):
                session.run(values)
        events = [e for e in made.events() if e.cpu_parent is None and e.name.startswith("aten::")]
    except Exception as error:
        raise RuntimeExportError(f"torch cannot profile {path}: {error}; export it again") from error
    if len(events) % calls:
        raise RuntimeExportError(
            f"torch ran {len(events)} operations in {calls} calls of {path}: each call runs others"
        )
    each = len(events) // calls
    return [
        TimedOperation(
            kind=_kind(_short(event.name), event.input_shapes),
            operator=_short(event.name),
            name="",
            output=None,
            samples_ms=tuple(e.cpu_time_total / 1000 for e in events[place::each]),
        )
        for place, event in enumerate(events[:each])
    ]


def _kind(name: str, shapes: list[Any]) -> str:
    if name in ("conv1d", "conv2d", "conv3d") and len(shapes) > 1:
        given, weight = shapes[0], shapes[1]
        if weight[1] != given[1]:
            return "depthwise" if weight[1] == 1 else "grouped"
        return "pointwise" if all(side == 1 for side in weight[2:]) else "conv"
    return _KINDS.get(name, "layout")
