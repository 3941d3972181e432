"""What a predictor was measured on: ranges per operation kind, and the check of a network against them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hwnas.core.ops import Op, OpList

__all__ = ["TOTALS", "Domain", "Finding", "ranges_of"]

Ranges = Mapping[str, Mapping[str, tuple[float, float]]]

NETWORK = "network"  # pseudo-kind of a network's totals
TOTALS = ("macs", "bytes", "operations")
# A sum over a network may leave what was measured by this factor: the prior is linear in it.
MARGIN = 1.1
_UNKNOWN_DISTANCE = 1.0
_UNITS = {"macs": "MACs", "bytes": "bytes in and out", "kernel": "kernel", "operations": "operations"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Why something is out of domain.

    Attributes:
        reason: names the operation kind and the range.
        distance: how far, as the logarithm of a factor.
    """

    reason: str
    distance: float


def _quantities(op: Op) -> Iterator[tuple[str, float]]:
    if op.macs:
        yield "macs", float(op.macs)
    yield "bytes", float(op.input_bytes + op.output_bytes)
    yield "kernel", float(max(op.kernel))


def _totals(network: OpList) -> Iterator[tuple[str, float]]:
    yield "macs", float(network.macs)
    yield "bytes", float(sum(op.input_bytes + op.output_bytes for op in network))
    yield "operations", float(len(network))


def ranges_of(networks: Sequence[OpList]) -> dict[str, dict[str, tuple[float, float]]]:
    """Least and most of every quantity per operation kind, "count" per network, and the networks' totals."""
    found: dict[str, dict[str, tuple[float, float]]] = {}

    def widen(kind: str, quantity: str, value: float) -> None:
        low, high = found.setdefault(kind, {}).get(quantity, (math.inf, -math.inf))
        found[kind][quantity] = (min(low, value), max(high, value))

    for segment in {segment: None for network in networks for segment in network.segments}:
        for op in segment.ops:
            for quantity, value in _quantities(op):
                widen(op.kind, quantity, value)
    kinds = sorted(found)
    for network in networks:
        count = Counter(op.kind for op in network)
        for kind in kinds:
            widen(kind, "count", float(count[kind]))
        for quantity, value in _totals(network):
            widen(NETWORK, quantity, value)
    return {kind: found[kind] for kind in sorted(found)}


@dataclass(frozen=True, slots=True)
class Domain:
    """Ranges of a card, ready for checking."""

    precision: str
    ranges: Ranges

    def check_op(self, op: Op) -> Finding | None:
        """Whether an operation's kind, precision, MACs, bytes and kernel were measured; None if so."""
        if op.precision != self.precision and not op.fixed:
            return Finding(f"{op.kind} is {op.precision}, measured was {self.precision}", _UNKNOWN_DISTANCE)
        known = self.ranges.get(op.kind)
        if known is None:
            name = f"{op.kind} ({op.detail})" if op.detail else op.kind
            return Finding(f"no {name} operation was measured", _UNKNOWN_DISTANCE)
        worst: Finding | None = None
        for quantity, value in _quantities(op):
            low, high = known.get(quantity, (value, value))
            distance = _distance(value, low, high)
            if distance > (worst.distance if worst else 0):
                worst = Finding(_say(op.kind, quantity, value, low, high), distance)
        return worst

    def excess(self, op: Op, kind: str) -> float:
        """How many times larger (>= 1) an operation is than the largest measured of `kind`."""
        known = self.ranges.get(kind, {})
        factors = [value / known[q][1] for q, value in _quantities(op) if q in known and known[q][1] > 0]
        return max([1.0, *factors])

    def check_counts(self, counts: Mapping[str, float]) -> Finding | None:
        """Whether a network has as many operations of each kind as the measured ones had."""
        worst: Finding | None = None
        for kind, value in counts.items():
            low, high = self.ranges.get(kind, {}).get("count", (0, math.inf))
            if not low <= value <= high:
                distance = abs(math.log((value + 1) / ((high if value > high else low) + 1)))
                if distance > (worst.distance if worst else 0):
                    worst = Finding(f"{value:g} {kind} operations, measured were {low:g} to {high:g}", distance)
        return worst

    def check_totals(self, totals: Mapping[str, float]) -> Finding | None:
        """Whether a network's MACs, bytes and number of operations lie in what was measured, `MARGIN` allowed."""
        worst: Finding | None = None
        for quantity, value in totals.items():
            low, high = self.ranges.get(NETWORK, {}).get(quantity, (value, value))
            distance = _distance(value, low / MARGIN, high * MARGIN)
            if distance > (worst.distance if worst else 0):
                worst = Finding(_say(NETWORK, quantity, value, low, high), distance)
        return worst


def _distance(value: float, low: float, high: float) -> float:
    if low <= value <= high:
        return 0.0
    return abs(math.log(max(value, 1e-9) / max(high if value > high else low, 1e-9)))


def _say(kind: str, quantity: str, value: float, low: float, high: float) -> str:
    return f"{kind} with {value:,.0f} {_UNITS[quantity]}, measured were {low:,.0f} to {high:,.0f}"
