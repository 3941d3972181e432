"""What the graph records of all runtimes have in common: none is worth failing an export for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from hwnas.core.graph_record import GraphRecord

__all__ = ["attempted", "finished", "fused_away", "plain_precision"]

_PRECISIONS = {
    "fp32": ("f32", "float", "float32"),
    "fp16": ("f16", "float16"),
    "bf16": ("bf16", "bfloat16"),
    "int8": ("i8", "u8", "int8", "uint8"),
}


def plain_precision(name: str) -> str:
    """How hwnas calls a type that a runtime names, such as "float16" or "I8"; its own name, if it is another."""
    return next((plain for plain, names in _PRECISIONS.items() if name.lower() in names), name)


def attempted(read: Callable[[], GraphRecord]) -> GraphRecord:
    """A record, or one that says why there is none: what runtimes tell of their graphs changes with their versions."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001 - whatever their libraries raise
        lines = str(error).strip().splitlines() or ["no message"]
        return GraphRecord(
            notes=(f"what the runtime makes of the file is not known ({type(error).__name__}: {lines[0]})",)
        )


def finished(record: GraphRecord | None, model: Any, precision: str, *, kept: bool) -> dict[str, Any]:
    """Plain values of a record for the manifest, with what the export itself folded away, and its notes.

    Args:
        record: of the file; None: the runtime makes none.
        model: the `torch.nn.Module` that was exported.
        precision: of the file.
        kept: whether some modules stay in fp32 on purpose.
    """
    import torch

    record = record or GraphRecord()
    norms = sum(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules())
    left = sum(n for name, n in (record.before or {}).items() if re.search("batch_?norm", name, re.IGNORECASE))
    if record.before is not None and norms > left:
        folded = {"BatchNorm folded by the export": norms - left}
        record = replace(record, fused={**folded, **(record.fused or {})})
    return record.held_against(precision, kept=kept).to_json()


def fused_away(before: Mapping[str, int], after: Iterable[str], groups: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """What became of the operations of a file, in words with numbers.

    Args:
        before: operations of the file by kind.
        after: kind of each operation that runs, in the words of `before`.
        groups: kinds that run as one, the one that runs first.
    """
    merged = [group for group in groups if len(group) > 1]
    found = Counter(" + ".join(group) for group in merged)
    there = Counter(after)
    there.update(part for group in merged for part in group[1:])
    for kind, n in before.items():
        if n > there[kind]:
            found[f"{kind} folded or rewritten"] = n - there[kind]
    return dict(found)
