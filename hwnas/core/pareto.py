"""Pareto arithmetic for two objectives, both minimised (latency in ms, error = 1 - accuracy)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ReferencePointError

__all__ = ["hypervolume_2d", "hypervolume_within", "is_clearly_dominated", "is_non_dominated", "knee", "spread_out"]

FloatArray = NDArray[np.float64]


def is_non_dominated(costs: FloatArray) -> NDArray[np.bool_]:
    """Mark the rows that no other row dominates; of equal rows the first is kept.

    Args:
        costs: `n x 2`, both minimised; `n = 0` gives an empty mask.
    """
    keep = np.zeros(len(costs), dtype=bool)
    best = np.inf
    # lexsort is stable, so the first of equal rows is met first.
    for index in np.lexsort((costs[:, 1], costs[:, 0])) if len(costs) else []:
        if costs[index, 1] < best:
            keep[index], best = True, costs[index, 1]
    return keep


def is_clearly_dominated(
    latency_ms: FloatArray, accuracy: FloatArray, n: int, *, z: float = 1.645
) -> NDArray[np.bool_]:
    """Mark the models that a split of `n` samples can tell to be worse than one that is no slower.

    Args:
        latency_ms: `m`.
        accuracy: `m`, fractions 0-1, each read on the same `n` samples.
        n: samples of the split.
        z: how many standard errors of the difference are clear; 1.645 is one-sided 95 %.
    Source: the normal approximation of two independent proportions; on the same samples the true error is smaller, so
        a model is rather kept than lost.
    """
    variance = accuracy * (1 - accuracy) / n
    gap = accuracy[None, :] - accuracy[:, None]
    error = np.sqrt(variance[None, :] + variance[:, None])
    no_slower = latency_ms[None, :] <= latency_ms[:, None]
    return np.asarray((no_slower & (gap > z * error)).any(axis=1))


def hypervolume_2d(costs: FloatArray, reference: FloatArray) -> float:
    """Area dominated by `costs`; both objectives are minimised.

    Args:
        costs: `n x 2`; dominated rows are allowed. `n = 0` gives 0.0.
        reference: `2`, same units; no row of `costs` may be above it.
    Raises:
        ReferencePointError: a row of `costs` is above `reference`, or is NaN.
    Source: Fonseca, Paquete, Lopez-Ibanez, CEC 2006: dimension sweep, here for two objectives.
    """
    if not (costs <= reference).all():
        raise ReferencePointError(f"every cost must be <= {reference.tolist()}, got {costs.max(axis=0).tolist()}")
    area, floor = 0.0, float(reference[1])
    for x, y in costs[np.lexsort((costs[:, 1], costs[:, 0]))].tolist() if len(costs) else []:
        area, floor = area + (float(reference[0]) - x) * max(floor - y, 0.0), min(floor, y)
    return area


def hypervolume_within(costs: FloatArray, reference: tuple[float, float]) -> float:
    """`hypervolume_2d` of the rows that are not above the reference; others count nothing."""
    corner = np.asarray(reference)
    return hypervolume_2d(costs[(costs <= corner).all(axis=1)], corner)


def knee(costs: FloatArray) -> int | None:
    """Index of the row farthest below the line between the two ends of the front, on scaled axes.

    Args:
        costs: `n x 2`, non-dominated. With fewer than three rows there is no knee: None.
    Source: Das, Structural Optimization 1999: the point of the front farthest from the chord of its ends.
    """
    if len(costs) < 3:
        return None
    low, high = costs.min(axis=0), costs.max(axis=0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    distance = 1.0 - scaled.sum(axis=1)
    return int(np.argmax(distance))


def spread_out(costs: FloatArray, count: int) -> list[int]:
    """Choose `count` rows of a front, both ends among them, that lie evenly along it.

    Greedy: the row whose removal loses the least distance to its neighbours goes first (crowding distance of
    Deb et al., IEEE TEC 2002, on scaled axes). Returns indices in order of the first objective.
    """
    order = [int(i) for i in np.lexsort((costs[:, 1], costs[:, 0]))] if len(costs) else []
    low = costs.min(axis=0) if len(costs) else np.zeros(2)
    span = np.where(np.ptp(costs, axis=0) > 0, np.ptp(costs, axis=0), 1.0) if len(costs) else np.ones(2)
    scaled = (costs - low) / span
    while len(order) > max(count, 0):
        inner = range(1, len(order) - 1)
        if not inner:
            return order[:count]
        gaps = [float(np.abs(scaled[order[i + 1]] - scaled[order[i - 1]]).sum()) for i in inner]
        del order[1 + int(np.argmin(gaps))]
    return order
