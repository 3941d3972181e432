"""Which operations networks are made of: what a correction of single operations reads.

Each live operation is a point: its class and the binary logarithms of its channels and pixels, in and out. Whether a
3x3 convolution of 24 channels is cheap for its MACs on a device is learned once, and helps wherever it occurs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.ops import Op, OpList, Segment
from hwnas.latency.features import COLUMNS, FOLDED, ROLES, features_of

__all__ = ["POINT", "Inventory", "inventory_of", "op_kernel", "point_of"]

FloatArray = NDArray[np.float64]
Entries = tuple[tuple[int, float], ...]
Point = tuple[float, ...]

POINT = 5  # numbers of a point
# Weights and length scales in octaves of the kernel: operations twice as large are alike, four times as large less so.
_SCALES = ((0.25, 2.0), (0.75, 4.0))
_DEAD = (ROLES.index("unused"), ROLES.index("constant"))


@dataclass(frozen=True)
class Inventory:
    """Operations of `n` networks.

    Attributes:
        counts: how often each of `u` different operations occurs, sparse, `n x u`.
        points: `u x POINT`.
        costs: what one of each adds to the features, sparse, `u x len(COLUMNS)`.
    """

    counts: Any
    points: FloatArray
    costs: Any

    def rows(self, at: NDArray[Any]) -> Inventory:
        """Some of the networks: indices or a mask."""
        return replace(self, counts=self.counts[at])

    def shares(self, weights: FloatArray, prior_ms: FloatArray) -> Any:
        """Which share of each network's prior each operation has, sparse, `n x u`.

        Args:
            weights: ms per unit of each feature column.
            prior_ms: of the networks, `n`, > 0.
        """
        from scipy import sparse

        return sparse.diags_array(1 / prior_ms) @ self.counts @ sparse.diags_array(self.costs @ weights)


def inventory_of(networks: Sequence[OpList], *, flow: bool) -> Inventory:
    """List the operations of networks, their features computed with or without data flow."""
    from scipy import sparse

    known: dict[tuple[Point, Entries], int] = {}
    of_segment: dict[Segment, list[int]] = {}
    counts: dict[tuple[int, int], int] = {}
    for row, network in enumerate(networks):
        for segment in network.segments:
            found = of_segment.get(segment)
            if found is None:
                found = of_segment[segment] = [
                    known.setdefault((point, entries), len(known)) for point, entries in _live(segment, flow)
                ]
            for column in found:
                counts[row, column] = counts.get((row, column), 0) + 1
    at = np.array(list(counts), dtype=np.int64).reshape(-1, 2)
    values = np.array(list(counts.values()), dtype=float)
    cells = [(row, column, value) for row, (_, entries) in enumerate(known) for column, value in entries]
    rows, columns, amounts = zip(*cells, strict=True) if cells else ((), (), ())
    return Inventory(
        counts=sparse.csr_array((values, (at[:, 0], at[:, 1])), shape=(len(networks), len(known))),
        points=np.array([point for point, _ in known]).reshape(-1, POINT),
        costs=sparse.csr_array((amounts, (rows, columns)), shape=(len(known), len(COLUMNS))),
    )


def _live(segment: Segment, flow: bool) -> list[tuple[Point, Entries]]:
    return [
        (point_of(op, number), entries)
        for op, (number, role, entries) in zip(segment.ops, features_of(segment, flow=flow).ops, strict=True)
        if number != FOLDED and role not in _DEAD
    ]


def point_of(op: Op, number: int) -> Point:
    """An operation as a point: its class (index into `CLASSES`), log2 of channels in and out, of pixels in and out."""
    read = op.inputs[0] if op.inputs else ()
    return (float(number), _log2(read[:1]), _log2(op.output[:1]), _log2(read[1:]), _log2(op.output[1:]))


def _log2(shape: Sequence[int]) -> float:
    return math.log2(max(math.prod(shape), 1))


def op_kernel(left: FloatArray, right: FloatArray) -> FloatArray:
    """Kernel of unit variance between points, `n x POINT` and `m x POINT` -> `n x m`; 0 between classes."""
    square = ((left[:, None, 1:] - right[None, :, 1:]) ** 2).sum(axis=2)
    alike = left[:, None, 0] == right[None, :, 0]
    found: FloatArray = np.asarray(sum(w * np.exp(square / (-2 * length**2)) for w, length in _SCALES)) * alike
    return found
