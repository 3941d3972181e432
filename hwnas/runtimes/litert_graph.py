"""What LiteRT makes of a file: what XNNPACK takes of it, in how many parts, and what is left to LiteRT itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwnas.core.graph_record import GraphRecord
from hwnas.runtimes.recorded import plain_precision

__all__ = ["graph_record"]

_DELEGATE = "DELEGATE"
_COMPUTE = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
_ACTIVATIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH", 5: "SIGN_BIT"}  # of the file format's schema


def graph_record(path: Path, interpreter: Any) -> GraphRecord:
    """Operations of a file, and those of an interpreter that has loaded it. XNNPACK does not tell what it does inside.

    Raises:
        Exception: whatever LiteRT raises; see `attempted`.
    """
    ops: list[dict[str, Any]] = interpreter._get_ops_details()
    own = [op for op in ops if op["op_name"] != _DELEGATE]
    parts = [op for op in ops if op["op_name"] == _DELEGATE]
    taken = {number for part in parts for number in _within(part, own)}
    left = [op for op in own if op["index"] not in taken]
    after = Counter(str(op["op_name"]) for op in left)
    if parts:
        after["XNNPACK partition"] = len(parts)
    types = [
        interpreter._get_tensor_details(int(op["inputs"][1]), 0)["dtype"] for op in own if op["op_name"] in _COMPUTE
    ]
    notes: tuple[str, ...] = ()
    if parts and left:
        names = ", ".join(sorted({str(op["op_name"]) for op in left}))
        notes = (f"XNNPACK leaves {len(left)} of {len(own)} operations to LiteRT's own kernels ({names})",)
    return GraphRecord(
        before=Counter(str(op["op_name"]) for op in own),
        after=after,
        fused=_fused(path),
        precisions=Counter(plain_precision(kind.__name__) for kind in types),
        notes=notes,
    )


def _within(part: dict[str, Any], ops: Sequence[dict[str, Any]]) -> set[int]:
    """Which operations a part computes: all between its inputs and its outputs."""
    writer = {int(tensor): op for op in ops for tensor in op["outputs"]}
    given = set(map(int, part["inputs"]))
    found: set[int] = set()
    wanted = list(map(int, part["outputs"]))
    while wanted:
        tensor = wanted.pop()
        op = writer.get(tensor)
        if op is None or tensor in given or op["index"] in found:
            continue
        found.add(op["index"])
        wanted += map(int, op["inputs"])
    return found


def _fused(path: Path) -> dict[str, int]:
    """Activations that the converter wrote into the operations before them."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    found: Counter[str] = Counter()
    for op in model.subgraphs[0].operators:
        activation = _ACTIVATIONS.get(getattr(op.builtinOptions, "fusedActivationFunction", 0))
        if activation:
            code = model.operatorCodes[op.opcodeIndex]
            found[f"{names[max(code.builtinCode, code.deprecatedBuiltinCode)]} + {activation}"] += 1
    return dict(found)
