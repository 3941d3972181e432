"""The linear part of a predictor: non-negative costs of operations and of their work."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.features import CLASSES, QUANTITIES, ROLES, quantity_column
from hwnas.latency.generic import generic_costs

__all__ = ["choose_ridge", "fit_prior", "separable"]

FloatArray = NDArray[np.float64]

_MIN_FOR_SEPARATION = 5  # networks from which on work can be told from counts
_RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_MOST_FOR_CHOICE = 400  # networks that the ridge is chosen with, and that tell which columns can be told apart


def fit_prior(
    features: FloatArray, latency: FloatArray, keep: NDArray[np.bool_], ridge: float
) -> tuple[FloatArray, float]:
    """Weights (ms per unit, >= 0) and intercept, drawn towards a generic device.

    Args:
        features: `n x len(COLUMNS)`.
        latency: `n`, ms.
        keep: which columns say something of their own.
        ridge: how strongly it is drawn.
    """
    target, offset = _scaled_generic(features, latency, keep)
    if len(latency) < _MIN_FOR_SEPARATION:
        return target, offset
    return _ridge(features, latency, np.flatnonzero(keep), target, offset, ridge)


def choose_ridge(features: FloatArray, latency: FloatArray, keep: NDArray[np.bool_]) -> float:
    """The ridge of `fit_prior` that predicts best in cross-validation, on at most 400 networks."""
    some = _some(len(latency))
    features, latency = features[some], latency[some]
    folds = np.arange(len(latency)) % 5
    best, least = _RIDGES[-1], math.inf
    if len(latency) < _MIN_FOR_SEPARATION:
        return best
    target, offset = _scaled_generic(features, latency, keep)
    for ridge in _RIDGES:
        errors = 0.0
        for fold in range(5):
            out = folds == fold
            used = np.flatnonzero(keep)
            weights, intercept = _ridge(features[~out], latency[~out], used, target, offset, ridge)
            predicted = np.maximum(features[out] @ weights + intercept, 1e-9)
            errors += float(np.minimum(np.abs(np.log(predicted / latency[out])), 1.0).sum())
        if errors < least:
            best, least = ridge, errors
    return best


def _some(n: int) -> NDArray[np.int64]:
    """At most 400 of `n` rows, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, _MOST_FOR_CHOICE)).astype(np.int64))


def _ridge(
    features: FloatArray, latency: FloatArray, used: NDArray[np.int64], target: FloatArray, offset: float, ridge: float
) -> tuple[FloatArray, float]:
    """Non-negative least squares on relative errors, drawn towards `target`; outliers weigh less in a second pass."""
    from scipy.optimize import nnls

    design = np.column_stack([np.ones(len(latency)), features[:, used]]) / latency[:, None]
    goal = np.concatenate([[offset], target[used]])
    # A column's share of latency: so that the ridge means the same for MACs, bytes and counts.
    share = np.sqrt(ridge * len(latency)) * np.maximum(design.mean(axis=0), 1e-12)
    weight = np.ones(len(latency))
    found = goal
    for _ in range(2):
        matrix_ = np.vstack([design * weight[:, None], np.diag(share)])
        wanted = np.concatenate([weight, share * goal])
        # The triangle has the same least squares as the tall matrix, and is much smaller.
        triangle = np.asarray(np.linalg.qr(np.column_stack([matrix_, wanted]), mode="r"))
        found, _ = nnls(triangle[:, :-1], triangle[:, -1], maxiter=50 * len(goal))
        off = np.abs(design @ found - 1)
        limit = max(4 * float(np.median(off)), 1e-6)
        weight = np.sqrt(np.minimum(1.0, limit / np.maximum(off, 1e-12)))
    weights = np.zeros(features.shape[1])
    weights[used] = found[1:]
    return weights, float(found[0])


def separable(features: FloatArray) -> NDArray[np.bool_]:
    """Which columns say something of their own.

    Where all operations of a class do the same work, cost per operation and cost per MAC cannot be told apart; then
    the count keeps it all, so that a smaller operation is not promised to be faster than anybody saw.
    """
    keep: NDArray[np.bool_] = features.max(axis=0) > 0
    if len(features) < _MIN_FOR_SEPARATION:
        return keep
    keep &= np.ptp(features, axis=0) > 1e-9 * np.abs(features).max(axis=0)
    features = features[_some(len(features))]
    for number in range(len(CLASSES)):
        counts = features[:, number * len(ROLES) : number * len(ROLES) + 2]
        base = np.column_stack([np.ones(len(features)), counts])
        for quantity in range(len(QUANTITIES)):
            column = quantity_column(number, quantity)
            if keep[column] and _explained(base, features[:, column]):
                keep[column] = False
            elif keep[column]:
                base = np.column_stack([base, features[:, column]])
    return keep


def _explained(base: FloatArray, column: FloatArray) -> bool:
    scale = np.maximum(np.abs(base).max(axis=0), 1e-12)
    found, *_ = np.linalg.lstsq(base / scale, column, rcond=None)
    left = column - base / scale @ found
    return bool(np.abs(left).max() <= 1e-6 * max(float(np.ptp(column)), 1e-12))


def _scaled_generic(features: FloatArray, latency: FloatArray, keep: NDArray[np.bool_]) -> tuple[FloatArray, float]:
    """The generic device scaled to the measurements: one factor for few, three terms for more."""
    from scipy.optimize import nnls

    counts, work = generic_costs()
    work = _folded_work(features, work, keep)
    if len(latency) < _MIN_FOR_SEPARATION:
        factor = float(np.exp(np.median(np.log(latency / np.maximum(features @ (counts + work), 1e-12)))))
        return (counts + work) * factor, 0.0
    design = np.column_stack([np.ones(len(latency)), features @ counts, features @ work]) / latency[:, None]
    scale = np.maximum(design.mean(axis=0), 1e-12)
    found, _ = nnls(design / scale, np.ones(len(latency)))
    found = found / scale
    return counts * found[1] + work * found[2], float(found[0])


def _folded_work(features: FloatArray, work: FloatArray, keep: NDArray[np.bool_]) -> FloatArray:
    """Generic work, with that of columns which cannot be separated moved to the class's count."""
    folded = work.copy()
    for number in range(len(CLASSES)):
        first = slice(number * len(ROLES), number * len(ROLES) + 2)
        total = features[:, first].sum()
        for quantity in range(len(QUANTITIES)):
            column = quantity_column(number, quantity)
            if not keep[column] and total > 0:
                folded[first] += work[column] * features[:, column].sum() / total
                folded[column] = 0.0
    return folded
