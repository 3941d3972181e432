"""What ExecuTorch really runs, and the time of each operation: both from ETDump, the trace that it writes of a run.

XNNPACK names its operations there, with the type that they compute in; a build without event tracing writes no trace.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from hwnas.core.graph_record import GraphRecord
from hwnas.core.profile import TimedOperation
from hwnas.core.runtime import InputArray, as_input
from hwnas.errors import MeasurementError, RuntimeExportError
from hwnas.runtimes.exporting import no_native_stderr

__all__ = ["graph_record", "profile"]

_WHOLE = ("DELEGATE_CALL", "Method::execute", "OPERATOR_CALL")  # what holds the others
_PORTABLE = "native_call_"
_COMPUTE = ("Convolution", "Deconvolution", "Fully Connected", "Batch Matrix Multiply")
_KINDS = {
    "Fully Connected": "linear",
    "Batch Matrix Multiply": "matmul",
    "Mean": "reduce",
    "Sum": "reduce",
    "Add": "elementwise",
    "Multiply": "elementwise",
    "Subtract": "elementwise",
    "Divide": "elementwise",
    "Average Pooling": "pool",
    "Max Pooling": "pool",
    "Global Average Pooling": "reduce",
    "Softmax": "softmax",
    "Transpose": "layout",
    "Convert": "layout",
    "Static Reshape": "layout",
    "Static Constant Pad": "layout",
    "Copy": "layout",
    "Convolution": "conv",
    "Deconvolution": "conv",
}
_ACTIVATIONS = ("HardSwish", "Sigmoid", "Clamp", "ReLU", "Tanh", "GELU", "ELU", "Leaky ReLU", "Invalid Unary Op")


def graph_record(path: Path, parts: SimpleNamespace, before: Mapping[str, int], example: InputArray) -> GraphRecord:
    """Operations of a program before it was lowered, and those that a run of its file makes.

    Args:
        parts: of ExecuTorch, as the runtime loads them.
        before: operations of the program by name.
        example: one sample.
    Raises:
        MeasurementError: this build writes no trace.
    """
    names = [op.operator for op in _traced(path, parts, example, calls=1, warmup=0)]
    compute = [name for name in names if name.startswith(_COMPUTE)]
    left = [name for name in names if name.startswith("portable ")]
    notes: tuple[str, ...] = ()
    if left:
        notes = (f"XNNPACK leaves {len(left)} of {len(names)} operations to ExecuTorch's slow portable kernels",)
    return GraphRecord(
        before=dict(before),
        after=Counter(names),
        fused=_fused(before, names),
        precisions=Counter(
            "fp32" if "F32" in name else "int8" if re.search(r"Q[SCD]\d?8|8W", name) else "other" for name in compute
        ),
        notes=notes,
    )


def _fused(before: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """XNNPACK has no batch norm, and clamps what an operation gives as part of it."""
    clamps = sum(before.get(name, 0) for name in ("relu", "hardtanh", "clamp"))
    left = sum(name.startswith(("Clamp", "ReLU")) for name in names)
    found = {"batch_norm folded": before.get("batch_norm", 0), "relu or hardtanh merged": max(0, clamps - left)}
    return {words: n for words, n in found.items() if n}


def profile(
    path: Path, parts: SimpleNamespace, inputs: InputArray, *, threads: int, calls: int, warmup: int
) -> list[TimedOperation]:
    """See `hwnas.core.profile.Profiler`."""
    try:
        with no_native_stderr():
            parts.set_threads(threads)
        return _traced(path, parts, inputs, calls=calls, warmup=warmup)
    except MeasurementError:
        raise
    except Exception as error:
        raise RuntimeExportError(f"executorch cannot profile {path}: {error}; export it again") from error


def _traced(path: Path, parts: SimpleNamespace, inputs: InputArray, *, calls: int, warmup: int) -> list[TimedOperation]:
    import torch

    sample = torch.from_numpy(as_input(np.asarray(inputs)[:1]))
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, no_native_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors' values, which nobody asked for
        from executorch.devtools import Inspector

        program = parts.runtime.get().load_program(path.read_bytes(), enable_etdump=True)
        method = program.load_method("forward")
        for _ in range(warmup + calls):
            method.execute([sample])
        dump = Path(folder) / "trace.etdp"
        program.write_etdump_result_to_file(str(dump), str(Path(folder) / "values"))
        if not dump.exists() or not dump.stat().st_size:
            raise MeasurementError("this build of executorch has no profiler (it was made without event tracing)")
        blocks = [block for block in Inspector(etdump_path=str(dump)).event_blocks if block.name == "Execute"]
    found = []
    for event in blocks[-1].events if blocks else ():
        if event.name in _WHOLE or event.perf_data is None:
            continue
        operator, _, number = event.name.partition(" #")
        is_portable = operator.startswith(_PORTABLE)
        operator = f"portable {operator.removeprefix(_PORTABLE)}" if is_portable else operator
        samples = tuple(max(0.0, float(ms)) for ms in event.perf_data.raw[warmup:])
        found.append(
            TimedOperation(kind=_kind(operator), operator=operator, name=number, output=None, samples_ms=samples)
        )
    return found


def _kind(operator: str) -> str:
    """Convolutions of kernel 1 are fully connected layers to XNNPACK: "linear", as it does not tell them apart."""
    if "DWConv" in operator:
        return "depthwise"
    name = operator.partition(" (")[0]
    return "activation" if name in _ACTIVATIONS else _KINDS.get(name, "other")
