"""Fitting a predictor: a non-negative prior by relative least squares, a Gaussian process, honest held-out figures."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwnas.core.ops import OpList
from hwnas.core.predictor import Card
from hwnas.errors import PredictorError
from hwnas.latency.domain import ranges_of
from hwnas.latency.features import CLASSES, COLUMNS, QUANTITIES, ROLES, knows_flow, matrix
from hwnas.latency.model import MAX_SUPPORT, Model, kernel
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.latency.scores import Scores, conformal_width, score

__all__ = ["HeldOut", "Origin", "cross_validate", "fit_model", "fit_predictor", "generic_ms"]

FloatArray = NDArray[np.float64]

FOLDS = 10
_MIN_FOR_RESIDUAL = 20
_MIN_FOR_SEPARATION = 5  # networks from which on work can be told from counts
_RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_LENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)  # times the square root of the number of columns
_NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # noise variance / residual variance


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where latencies come from; the fields of `Card` that no fit can know."""

    device: str
    runtime: str
    runtime_version: str | None = None
    precision: str = "fp32"
    batch: int = 1
    threads: int | None = None
    power_mode: str | None = None
    statistic: str = "p10"
    measured: bool = True
    source: str = ""
    licence: str = ""
    spaces: tuple[str, ...] = ()
    input_shapes: tuple[tuple[int, ...], ...] = ()
    note: str = ""
    date: str = ""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Predictions for networks that their model had not seen, in ms; `low` and `high` bound the 90 % interval."""

    predicted: FloatArray
    low: FloatArray
    high: FloatArray


def fit_predictor(
    networks: Sequence[OpList],
    latency_ms: Sequence[float] | FloatArray,
    origin: Origin,
    *,
    rng: np.random.Generator,
    support: int = 300,
) -> LinearGpPredictor:
    """Fit a predictor and write its card.

    Args:
        networks: `n` >= 1, all at the origin's precision.
        latency_ms: `n`, > 0 and finite.
        support: most points that the residual keeps.
    Raises:
        PredictorError: no networks, as many latencies as networks are not given, or a latency is not > 0 and finite.
    """
    latency = np.asarray(latency_ms, dtype=float)
    if len(networks) == 0 or latency.shape != (len(networks),):
        raise PredictorError(f"fitting needs one latency a network, got {len(networks)} networks, {latency.shape}")
    if not (np.isfinite(latency) & (latency > 0)).all():
        bad = latency[~(np.isfinite(latency) & (latency > 0))][0]
        raise PredictorError(f"latencies must be > 0 ms and finite, got {bad}; measure again")
    flow = all(knows_flow(segment) for segment in {s: None for network in networks for s in network.segments})
    features = matrix(networks, flow=flow)
    held_out, width, scores = cross_validate(features, latency, rng=rng, support=support)
    model = replace(fit_model(features, latency, width=width, rng=rng, support=support), flow=int(flow))
    ranges = ranges_of(networks)
    ranges["class"] = _class_ranges(features)
    card = _card(origin, model, ranges, len(networks), scores if held_out is not None else None)
    return LinearGpPredictor(model, card)


def cross_validate(
    features: FloatArray, latency: FloatArray, *, rng: np.random.Generator, support: int = 300, folds: int = FOLDS
) -> tuple[HeldOut | None, float, Scores | None]:
    """Fit without each fold and predict it; the width of the final interval; what the predictions are worth.

    Interval coverage is honest too: each fold's interval comes from the errors on the other folds.

    Args:
        features: `n x len(COLUMNS)`.
        latency: `n`, ms.
    Returns:
        None instead of predictions and scores for less than 5 networks.
    """
    n = len(latency)
    if n < 5:
        return None, conformal_width(np.empty(0)), None
    keep = _separable(features)
    fold_of = rng.permutation(n) % min(folds, n)
    predicted = np.empty(n)
    for fold in range(min(folds, n)):
        out = fold_of == fold
        model = fit_model(features[~out], latency[~out], width=0.1, rng=rng, support=support, keep=keep)
        predicted[out] = model.latency_ms(features[out])
    errors = np.abs(np.log(predicted / latency))
    widths = np.array([conformal_width(errors[fold_of != fold]) for fold in fold_of])
    held_out = HeldOut(predicted, predicted * np.exp(-widths), predicted * np.exp(widths))
    return held_out, conformal_width(errors), score(latency, predicted, held_out.low, held_out.high)


def fit_model(
    features: FloatArray,
    latency: FloatArray,
    *,
    width: float,
    rng: np.random.Generator,
    support: int = 300,
    keep: NDArray[np.bool_] | None = None,
) -> Model:
    """Fit prior and residual.

    Args:
        features: `n x len(COLUMNS)`.
        latency: `n`, ms.
        width: of the interval, on log latency.
        support: most points that the residual keeps.
        keep: which columns say something of their own; found out, if not given.
    """
    keep = _separable(features) if keep is None else keep
    weights, intercept = _fit_prior(features, latency, keep)
    floor = 0.01 * float(latency.min())
    rest = np.log(latency / np.maximum(features @ weights + intercept, floor))
    few = len(latency) < _MIN_FOR_RESIDUAL
    columns = np.flatnonzero(keep & (np.ptp(features, axis=0) > 0) & (not few)).astype(np.int64)
    center = features[:, columns].mean(axis=0)
    scale = np.maximum(features[:, columns].std(axis=0), 1e-12)
    points, alpha, length = _fit_residual((features[:, columns] - center) / scale, rest, support, rng)
    if not len(alpha):
        columns, center, scale = columns[:0], center[:0], scale[:0]
        points = np.empty((0, 0))
    return Model(
        weights=weights, intercept=intercept, floor=floor, columns=columns, center=center, scale=scale,
        support=points, alpha=alpha, length=length, width=width, flow=0,
    )  # fmt: skip


def _fit_prior(features: FloatArray, latency: FloatArray, keep: NDArray[np.bool_]) -> tuple[FloatArray, float]:
    """Weights (ms per unit, >= 0) and intercept; the ridge towards a generic device is chosen by cross-validation."""
    target, offset = _scaled_generic(features, latency, keep)
    used = np.flatnonzero(keep)
    n = len(latency)
    if n < _MIN_FOR_SEPARATION:
        return target, offset
    folds = np.arange(n) % 5
    best, least = _RIDGES[-1], math.inf
    for ridge in _RIDGES:
        errors = 0.0
        for fold in range(5):
            out = folds == fold
            weights, intercept = _ridge(features[~out], latency[~out], used, target, offset, ridge)
            predicted = np.maximum(features[out] @ weights + intercept, 1e-9)
            errors += float(np.minimum(np.abs(np.log(predicted / latency[out])), 1.0).sum())
        if errors < least:
            best, least = ridge, errors
    return _ridge(features, latency, used, target, offset, best)


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
        found, _ = nnls(matrix_, np.concatenate([weight, share * goal]), maxiter=50 * len(goal))
        off = np.abs(design @ found - 1)
        limit = max(4 * float(np.median(off)), 1e-6)
        weight = np.sqrt(np.minimum(1.0, limit / np.maximum(off, 1e-12)))
    weights = np.zeros(features.shape[1])
    weights[used] = found[1:]
    return weights, float(found[0])


def _separable(features: FloatArray) -> NDArray[np.bool_]:
    """Which columns say something of their own.

    Where all operations of a class do the same work, cost per operation and cost per MAC cannot be told apart; then
    the count keeps it all, so that a smaller operation is not promised to be faster than anybody saw.
    """
    keep: NDArray[np.bool_] = features.max(axis=0) > 0
    if len(features) < _MIN_FOR_SEPARATION:
        return keep
    keep &= np.ptp(features, axis=0) > 1e-9 * np.abs(features).max(axis=0)
    for number in range(len(CLASSES)):
        counts = features[:, number * len(ROLES) : number * len(ROLES) + 2]
        base = np.column_stack([np.ones(len(features)), counts])
        for quantity in range(len(QUANTITIES)):
            column = _quantity(number, quantity)
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


def _quantity(number: int, quantity: int) -> int:
    return len(CLASSES) * len(ROLES) + number * len(QUANTITIES) + quantity


def _generic() -> tuple[FloatArray, FloatArray]:
    """Costs on a device like many, ms: per operation, and per million MACs or megabyte. Only their ratios matter."""
    counts, work = np.zeros(len(COLUMNS)), np.zeros(len(COLUMNS))
    heavy = {"conv3", "conv5", "pointwise", "depthwise3", "depthwise5", "depthwise7", "grouped", "linear", "matmul"}
    for number, name in enumerate(CLASSES):
        counts[number * len(ROLES) : number * len(ROLES) + 2] = (
            0.02 if name in heavy else 0.002 if name == "fused" else 0.01
        )
        work[_quantity(number, 0)] = 0.15 if name.startswith("depthwise") else 0.05
        work[_quantity(number, 1)] = 0.05 if name == "fused" else 0.1
        work[_quantity(number, 2)] = 0.1
    return counts, work


def generic_ms(features: FloatArray) -> FloatArray:
    """ms of networks on a device like many, `n x len(COLUMNS)` -> `n`; only ratios mean something."""
    counts, work = _generic()
    return np.maximum(features @ (counts + work), 1e-12)


def _scaled_generic(features: FloatArray, latency: FloatArray, keep: NDArray[np.bool_]) -> tuple[FloatArray, float]:
    """The generic device scaled to the measurements: one factor for few, three terms for more."""
    from scipy.optimize import nnls

    counts, work = _generic()
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
            column = _quantity(number, quantity)
            if not keep[column] and total > 0:
                folded[first] += work[column] * features[:, column].sum() / total
                folded[column] = 0.0
    return folded


def _fit_residual(
    inputs: FloatArray, rest: FloatArray, support: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, float]:
    """Support points, their weights and the length scale of the likeliest process; no points if noise is likelier.

    Length scale and noise are chosen by the marginal likelihood on at most 400 networks; the weights use all.
    """
    n, d = inputs.shape
    none = np.empty((0, d)), np.empty(0), 1.0
    if d == 0:
        return none
    some = rng.permutation(n)[:400]
    variance = max(float(np.mean(rest**2)), 1e-12)
    best = (0.5 * len(some) * (math.log(2 * math.pi * variance) + 1), 0.0, 0.0)  # all of it is noise
    for length in np.array(_LENGTHS) * math.sqrt(d):
        values, vectors = np.linalg.eigh(kernel(inputs[some], inputs[some], length))
        projected = (vectors.T @ rest[some]) ** 2
        for noise in _NOISES:
            spread = np.maximum(values, 0) + noise
            signal = float(np.mean(projected / spread))
            cost = 0.5 * (len(some) * (math.log(2 * math.pi * max(signal, 1e-18)) + 1) + np.log(spread).sum())
            if cost < best[0]:
                best = (float(cost), float(length), noise)
    if best[1] == 0:
        return none
    points = _support(inputs, min(support, MAX_SUPPORT), rng)
    cross = kernel(inputs, points, best[1])
    left = cross.T @ cross + best[2] * kernel(points, points, best[1])
    alpha = np.linalg.solve(left + 1e-8 * np.trace(left) / len(left) * np.eye(len(left)), cross.T @ rest)
    return points, alpha, best[1]


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


def _class_ranges(features: FloatArray) -> dict[str, tuple[float, float]]:
    """Per class and role that was measured, the least and most operations of a network."""
    counts = features[:, : len(CLASSES) * len(ROLES)]
    lows, highs = counts.min(axis=0).tolist(), counts.max(axis=0).tolist()
    return {COLUMNS[at]: (low, high) for at, (low, high) in enumerate(zip(lows, highs, strict=True)) if high > 0}


def _card(
    origin: Origin, model: Model, ranges: dict[str, dict[str, tuple[float, float]]], n: int, scores: Scores | None
) -> Card:
    note = origin.note
    if n < _MIN_FOR_RESIDUAL:
        few = f"only {n} measurement{'s' * (n != 1)}: a generic device scaled to them"
        note = f"{note}; {few}" if note else few
    return Card(
        id=f"{origin.device}/{origin.runtime}-{origin.precision}@{model.fingerprint}",
        device=origin.device, runtime=origin.runtime, runtime_version=origin.runtime_version,
        precision=origin.precision, batch=origin.batch, threads=origin.threads, power_mode=origin.power_mode,
        statistic=origin.statistic, measured=origin.measured, source=origin.source, licence=origin.licence,
        n_measurements=n, spaces=origin.spaces, input_shapes=origin.input_shapes, op_ranges=ranges,
        held_out=n if scores else 0,
        mape=scores.mape if scores else None, spearman=scores.spearman if scores else None,
        kendall=scores.kendall if scores else None, within_5=scores.within_5 if scores else None,
        within_10=scores.within_10 if scores else None, interval_coverage=scores.coverage if scores else None,
        date=origin.date or datetime.datetime.now(datetime.UTC).date().isoformat(), note=note,
    )  # fmt: skip
