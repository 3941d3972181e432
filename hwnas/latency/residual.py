"""The flexible part of a predictor: a Gaussian process on the logarithm of what the linear part leaves over."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.model import MAX_SUPPORT, kernel

__all__ = ["Process", "choose_process", "fit_residual"]

FloatArray = NDArray[np.float64]

_LENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)  # times the square root of the number of columns
_NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # noise variance / residual variance
_MOST_FOR_CHOICE = 400


@dataclass(frozen=True, slots=True)
class Process:
    """Length scale and noise (its variance / the process's)."""

    length: float
    noise: float


def choose_process(inputs: FloatArray, rest: FloatArray, rng: np.random.Generator) -> Process | None:
    """The likeliest process, by the marginal likelihood on at most 400 networks; None if all is noise.

    Args:
        inputs: `n x d`, standardised.
        rest: `n`, log latency less that of the prior.
    """
    n, d = inputs.shape
    if d == 0:
        return None
    some = rng.permutation(n)[:_MOST_FOR_CHOICE]
    variance = max(float(np.mean(rest**2)), 1e-12)
    least, best = 0.5 * len(some) * (math.log(2 * math.pi * variance) + 1), None
    for length in np.array(_LENGTHS) * math.sqrt(d):
        values, vectors = np.linalg.eigh(kernel(inputs[some], inputs[some], length))
        projected = (vectors.T @ rest[some]) ** 2
        for noise in _NOISES:
            spread = np.maximum(values, 0) + noise
            signal = float(np.mean(projected / spread))
            cost = 0.5 * (len(some) * (math.log(2 * math.pi * max(signal, 1e-18)) + 1) + np.log(spread).sum())
            if cost < least:
                least, best = float(cost), Process(float(length), noise)
    return best


def fit_residual(
    inputs: FloatArray, rest: FloatArray, process: Process, support: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """At most `support` points and their weights: `m x d` and `m`; all networks take part in the fit."""
    points = _support(inputs, min(support, MAX_SUPPORT), rng)
    cross = kernel(inputs, points, process.length)
    left = cross.T @ cross + process.noise * kernel(points, points, process.length)
    jitter = 1e-8 * np.trace(left) / len(left) * np.eye(len(left))
    return points, np.linalg.solve(left + jitter, cross.T @ rest)


def _support(inputs: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
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
