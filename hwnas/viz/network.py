"""The networks of a front, stage by stage, with the predicted milliseconds of each operation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from hwnas.core.front import FrontModel
from hwnas.core.ops import Op, OpList
from hwnas.core.task import TaskShape
from hwnas.latency.run_networks import RunNetworks

__all__ = ["Networks", "stages_of"]

_FOLDED = {"norm", "activation", "layout"}  # drawn with what they follow, unless they cost time of their own


class Networks:
    """Draws the models of a run from what its folder holds; whatever is missing is said and not guessed.

    Args:
        known: networks and frozen predictors of the run.
    """

    def __init__(self, known: RunNetworks) -> None:
        self._known = known

    def drawn(self, model: FrontModel, shape: TaskShape | None) -> dict[str, Any]:
        """Stages, operations, and for each device the ms of each operation, as plain values.

        Args:
            shape: of the model's input and output; None is not known.
        Returns:
            `{"stages", "operations", "ms", "network_ms", "missing"}`; "missing" says in words what is not known: of
            the whole network under "", of a device under its name.
        """
        if shape is None:
            return _nothing("the model has no manifest that says what its input is")
        traced = self._known.traced(model.candidate, shape)
        if isinstance(traced, str):
            return _nothing(traced)
        network, names = traced
        found: dict[str, Any] = {
            "stages": stages_of(network, names, dict(model.compression.prune)),
            "operations": [_operation(op) for op in network],
            "ms": {},
            "network_ms": {},
            "missing": {},
        }
        for device, entry in model.latency.items():
            predictor = self._known.predictor(entry.predictor)
            if predictor is None:
                found["missing"][device] = f"the run folder has no predictor {entry.predictor}"
                continue
            breakdown = predictor.breakdown(network)
            found["ms"][device] = [_rounded(ms) for _, ms in breakdown.ops]
            found["network_ms"][device] = _rounded(breakdown.network_ms)
        return found


def _nothing(why: str) -> dict[str, Any]:
    return {"stages": [], "operations": [], "ms": {}, "network_ms": {}, "missing": {"": why}}


def _rounded(ms: float) -> float:
    return float(f"{ms:.4g}")


def _operation(op: Op) -> list[Any]:
    """[name, output shape, multiply-adds, parameters]."""
    return [_words(op), list(op.output), op.macs, op.params]


def stages_of(network: OpList, names: Sequence[str], prune: Mapping[str, float]) -> list[dict[str, Any]]:
    """The network as stages of blocks of parts.

    Args:
        network: its operations.
        names: for each segment the name of its stage; empty: a stage is what has one size of feature map.
        prune: stage -> share of channels that was cut.
    Returns:
        `{"name", "output", "pruned", "blocks"}` each; a block is a list of parts `[text, kind, positions of its
        operations]`. Every operation is in one part.
    """
    blocks = list(_named(network, names) if names else _by_size(network))
    stages = []
    for name, group in groupby(blocks, key=lambda block: block[0]):
        members = [ops for _, ops in group if ops]
        if members:
            output = list(members[-1][-1][1].output)
            parts = [_parts_of(ops) for ops in members]
            stages.append({"name": name, "output": output, "pruned": prune.get(name), "blocks": parts})
    return stages


Placed = list[tuple[int, Op]]  # operations with their positions in the network


def _named(network: OpList, names: Sequence[str]) -> Iterator[tuple[str, Placed]]:
    start = 0
    for name, segment in zip(names, network.segments, strict=True):
        yield name, list(enumerate(segment.ops, start=start))
        start += len(segment.ops)


def _by_size(network: OpList) -> Iterator[tuple[str, Placed]]:
    for size, group in groupby(enumerate(network), key=lambda placed: placed[1].output[1:]):
        yield "x".join(map(str, size)) or "vector", list(group)


def _parts_of(ops: Placed) -> list[list[Any]]:
    parts: list[list[Any]] = []
    before: list[int] = []  # what is folded into a part that is still to come
    at = 0
    while at < len(ops):
        gate = _gate_length([op for _, op in ops[at:]])
        if gate:
            inner = ops[at + 1][1].output[0]
            parts.append([f"squeeze-excite {inner}", "gate", [*before, *(place for place, _ in ops[at : at + gate])]])
            before = []
            at += gate
            continue
        place, op = ops[at]
        if op.kind not in _FOLDED:
            parts.append([_words(op), op.kind, [*before, place]])
            before = []
        elif parts:
            parts[-1][2].append(place)
        else:
            before.append(place)
        at += 1
    if before:
        parts.append([_words(ops[0][1]), ops[0][1].kind, before])
    return parts


def _gate_length(ops: Sequence[Op]) -> int:
    """How many operations a squeeze-excite gate has that begins here; 0: there is none."""
    if not ops or ops[0].kind != "reduce":
        return 0
    for length, op in enumerate(ops[1:], start=2):
        if op.kind == "elementwise":
            return length if op.detail == "mul" and length > 3 else 0
        if op.kind not in ("pointwise", "linear", "activation") or math.prod(op.output[1:]) != 1:
            return 0
    return 0


def _words(op: Op) -> str:
    size = f"{op.kernel[0]}\u00d7{op.kernel[1]}"
    step = f" /{op.stride[0]}" if op.stride[0] > 1 else ""
    channels = f" \u2192 {op.output[0]}" if op.output else ""
    named = {
        "resize": "resize " + "\u00d7".join(map(str, op.output[1:])),
        "conv": f"conv {size}{step}{channels}",
        "pointwise": f"1\u00d71{step}{channels}",
        "depthwise": f"depthwise {size}{step}",
        "grouped": f"grouped {size}{step}{channels}",
        "linear": f"linear{channels}",
        "pool": f"pool {size}{step}",
        "reduce": "global mean" if op.detail in ("mean", "_adaptive_avg_pool2d", "adaptive_avg_pool2d") else op.detail,
    }
    return named.get(op.kind) or op.detail or op.kind
