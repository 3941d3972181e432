"""The flexible part of a predictor: a Gaussian process on the logarithm of what the linear part leaves over.

It is a sum of up to three: of a network's columns, of its totals, and of its single operations, each weighted by its
share of the prior. Which of them there are, and their length scales, is what makes the measurements likeliest.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5, and 8.3.1 (fewer
points than networks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hwnas.latency.inventory import op_kernel
from hwnas.latency.model import MAX_SUPPORT, kernel

__all__ = ["Fitted", "Process", "Rest", "choose_process", "fit_residual"]

FloatArray = NDArray[np.float64]

_COLUMN_LENGTHS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0)  # times the square root of the number of columns; 0: no such part
_TOTAL_LENGTHS = (0.0, 1.0, 2.0, 4.0)
_OP_WEIGHTS = (0.0, 10.0, 40.0)  # a network averages over its operations, so that single ones must vary more
_NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # noise variance / variance of a part
_MOST_FOR_CHOICE = 300
_APART = np.array([1024.0, 1, 1, 1, 1])  # classes of operations lie far from each other when points are spread


@dataclass(frozen=True)
class Rest:
    """What the prior leaves over, and what it may depend on.

    Attributes:
        log_factor: log latency less that of the prior, `n`.
        columns: standardised, `n x d`.
        totals: their logarithms, standardised, `n x 4`.
        shares: of each operation in the prior, sparse, `n x u`; None: operations are not looked at.
        points: of the operations, `u x POINT`.
    """

    log_factor: FloatArray
    columns: FloatArray
    totals: FloatArray
    shares: Any
    points: FloatArray

    def rows(self, at: NDArray[Any]) -> Rest:
        """Some of the networks."""
        shares = None if self.shares is None else self.shares[at]
        return replace(
            self, log_factor=self.log_factor[at], columns=self.columns[at], totals=self.totals[at], shares=shares
        )


@dataclass(frozen=True, slots=True)
class Process:
    """Length scales of columns and totals, weight of operations (each 0: no such part), and noise variance.

    Variances are relative to that of the first two parts.
    """

    column_length: float
    total_length: float
    op_weight: float
    noise: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """Points and their weights, for columns, totals and operations; empty where there is no such part."""

    columns: tuple[FloatArray, FloatArray]
    totals: tuple[FloatArray, FloatArray]
    operations: tuple[FloatArray, FloatArray]


def choose_process(rest: Rest, rng: np.random.Generator) -> Process | None:
    """The likeliest process, by the marginal likelihood on at most 300 networks; None if all is noise."""
    some = rest.rows(rng.permutation(len(rest.log_factor))[:_MOST_FOR_CHOICE])
    n, d = some.columns.shape
    goal = some.log_factor
    variance = max(float(np.mean(goal**2)), 1e-12)
    least, best = 0.5 * n * (math.log(2 * math.pi * variance) + 1), None
    by_column = {0.0: np.zeros((n, n))}
    for factor in _COLUMN_LENGTHS[1:] if d else ():
        length = factor * math.sqrt(d)
        by_column[length] = kernel(some.columns, some.columns, length)
    by_total = {length: kernel(some.totals, some.totals, length) if length else 0.0 for length in _TOTAL_LENGTHS}
    by_op = np.zeros((n, n)) if some.shares is None else _op_covariance(some)
    weights = _OP_WEIGHTS if some.shares is not None else (0.0,)
    with threadpool_limits(limits=1, user_api="blas"):  # small matrices: more threads wait for each other
        for column_length, total_length, weight in product(by_column, by_total, weights):
            if not (column_length or total_length or weight):
                continue
            covariance = by_column[column_length] + by_total[total_length] + weight * by_op
            values, vectors = np.linalg.eigh(covariance)
            projected = (vectors.T @ goal) ** 2
            for noise in _NOISES:
                spread = np.maximum(values, 0) + noise
                signal = float(np.mean(projected / spread))
                cost = 0.5 * (n * (math.log(2 * math.pi * max(signal, 1e-18)) + 1) + np.log(spread).sum())
                if cost < least:
                    least, best = float(cost), Process(column_length, total_length, weight, noise)
    return best


def fit_residual(rest: Rest, process: Process, support: int, rng: np.random.Generator) -> Fitted:
    """At most `support` networks and as many operations, and their weights; all networks take part in the fit."""
    count, d = min(support, MAX_SUPPORT), rest.columns.shape[1]
    joint = np.hstack([rest.columns, rest.totals])
    has_networks, has_ops = bool(process.column_length or process.total_length), process.op_weight > 0
    networks = _spread_out(joint, count, rng) if has_networks else joint[:0]
    points = _spread_out(rest.points * _APART, count, rng) / _APART if has_ops else rest.points[:0]

    def between(left: FloatArray) -> FloatArray:
        found = np.zeros((len(left), len(networks)))
        if process.column_length:
            found += kernel(left[:, :d], networks[:, :d], process.column_length)
        if process.total_length:
            found += kernel(left[:, d:], networks[:, d:], process.total_length)
        return found

    cross, own = between(joint), between(networks)
    if has_ops:
        cross = np.hstack([cross, process.op_weight * (rest.shares @ op_kernel(rest.points, points))])
    size = len(networks)
    prior = np.zeros((cross.shape[1], cross.shape[1]))
    prior[:size, :size] = own
    prior[size:, size:] = process.op_weight * op_kernel(points, points)
    left = cross.T @ cross + process.noise * prior
    jitter = 1e-8 * np.trace(left) / len(left) * np.eye(len(left))
    weights = np.linalg.solve(left + jitter, cross.T @ rest.log_factor)
    n_columns, n_totals = size * bool(process.column_length), size * bool(process.total_length)
    return Fitted(
        columns=(networks[:n_columns, :d], weights[:n_columns]),
        totals=(networks[:n_totals, d:], weights[:n_totals]),
        operations=(points, process.op_weight * weights[size:]),
    )


def _op_covariance(rest: Rest) -> FloatArray:
    """Of the networks, `n x n`, by their shares of operations; rows of operations at a time, for memory."""
    used = np.unique(rest.shares.indices)
    shares, points = rest.shares[:, used], rest.points[used]
    half = np.zeros((len(rest.log_factor), len(points)))
    for start in range(0, len(points), 500):
        half[:, start : start + 500] = shares @ op_kernel(points, points[start : start + 500])
    return np.asarray(shares @ half.T)


def _spread_out(inputs: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """At most `count` different points, spread out: each next one is the farthest from those before."""
    points = np.unique(inputs, axis=0)
    if len(points) <= count:
        return points
    chosen = [int(rng.integers(len(points)))]
    distance = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]
