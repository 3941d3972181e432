"""The latency of one whole network: which predictor to ask, and what in the network no predictor knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hwnas.core.device import Device
from hwnas.core.ops import Op, OpList
from hwnas.core.predictor import Breakdown, LatencyPredictor, Prediction
from hwnas.errors import PredictorError

__all__ = ["UnknownOperations", "breakdown_json", "predict_whole", "require_predictor", "unknown_operations"]


@dataclass(frozen=True, slots=True)
class UnknownOperations:
    """Operations of one operator that a predictor was never shown.

    Attributes:
        operator: its name in the file.
        nodes: names of its nodes.
    """

    operator: str
    nodes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"operator": self.operator, "count": len(self.nodes), "nodes": list(self.nodes)}


def require_predictor(
    predictors: Mapping[str, LatencyPredictor], device: Device, precision: str, *, hint: str = ""
) -> LatencyPredictor:
    """The predictor for a precision.

    Args:
        hint: a further way out, as a sentence with a space behind it.
    Raises:
        PredictorError: the device has none.
    """
    if precision not in predictors:
        raise PredictorError(
            f"no predictor of {device.name} for {precision}; there are: {', '.join(predictors) or 'none'}. "
            f"{hint}Make one with `hwnas measure` and `hwnas calibrate`"
        )
    return predictors[precision]


def unknown_operations(
    network: OpList, predictor: LatencyPredictor, operators: Sequence[str], nodes: Sequence[str]
) -> tuple[UnknownOperations, ...]:
    """Operations whose kind the predictor was never shown, those of kind "other" always among them.

    Args:
        operators, nodes: for each operation, names of its operator and of its node.
    """
    measured = predictor.card.op_ranges
    found: dict[str, list[str]] = {}
    for op, operator, node in zip(network, operators, nodes, strict=True):
        if op.kind == "other" or op.kind not in measured:
            found.setdefault(operator, []).append(node)
    return tuple(UnknownOperations(operator, tuple(names)) for operator, names in found.items())


def predict_whole(network: OpList, predictor: LatencyPredictor, unknown: Sequence[UnknownOperations]) -> Prediction:
    """Predict one network; with operations that are not known it is out of domain, whatever else holds."""
    (found,) = predictor.predict([network])
    if not unknown:
        return found
    names = ", ".join(f"{entry.operator} x{len(entry.nodes)}" for entry in unknown)
    return replace(found, in_domain=False, reason=found.reason or f"operations that are not known: {names}")


def breakdown_json(found: Breakdown, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Plain values; the shares of operations and network add up to 1.

    Args:
        names: for each operation, the name to show; None: its detail.
    """
    rows = [_row(at, op, ms, found.total_ms) for at, (op, ms) in enumerate(found.ops)]
    for row, name in zip(rows, names or [op.detail for op, _ in found.ops], strict=True):
        row["name"] = name
    return {
        "operations": rows,
        "network_ms": found.network_ms,
        "network_share": found.network_ms / found.total_ms,
        "total_ms": found.total_ms,
    }


def _row(at: int, op: Op, ms: float, total: float) -> dict[str, Any]:
    return {
        "position": at,
        "kind": op.kind,
        "name": op.detail,
        "output": list(op.output),
        "macs": op.macs,
        "ms": ms,
        "share": ms / total,
    }
