"""Fitting a predictor: a non-negative prior by relative least squares, a Gaussian process, honest held-out figures."""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwnas.core.ops import OpList
from hwnas.core.predictor import Card
from hwnas.errors import PredictorError
from hwnas.latency.channels import in_blocks, telling_blocks
from hwnas.latency.domain import ranges_of
from hwnas.latency.features import CLASSES, COLUMNS, ROLES, features_matrix, totals
from hwnas.latency.inventory import POINT, Inventory, inventory_of
from hwnas.latency.model import Model, Smooth, log_totals
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.latency.prior import choose_ridge, fit_prior, separable
from hwnas.latency.residual import Process, Rest, choose_process, fit_residual
from hwnas.latency.scores import Scores, conformal_width, score

__all__ = [
    *("HeldOut", "Origin", "Settings", "check_latencies", "choose_settings"),
    *("cross_validate", "finish_predictor", "fit_model", "fit_predictor"),
]

FloatArray = NDArray[np.float64]
Scale = tuple[FloatArray, FloatArray]  # center and scale of columns

FOLDS = 5
_MIN_FOR_RESIDUAL = 20
# Channels are counted in blocks if so many measurements say that the held-out error then is at most this share of what
# it is without: less may be chance.
_MIN_FOR_BLOCKS, _CLEARLY = 30, 0.95
_FEW, _DRAWS = 100, 3  # of up to so many measurements, held-out errors are averaged over draws of the folds


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
    quantity: str = "latency"


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

    Channels are counted in blocks where that makes the held-out error clearly smaller.

    Args:
        networks: `n` >= 1, all at the origin's precision.
        latency_ms: `n`, > 0 and finite.
        support: most points that the residual keeps.
    Raises:
        PredictorError: no networks, as many latencies as networks are not given, or a latency is not > 0 and finite.
    """
    latency = check_latencies(networks, latency_ms)
    blocks = telling_blocks(networks) if len(networks) >= _MIN_FOR_BLOCKS else []
    draws = _DRAWS if blocks and len(networks) <= _FEW else 1
    found = _validated(networks, latency, 1, copy.deepcopy(rng), support, draws)
    for block in blocks:
        other = _validated(networks, latency, block, copy.deepcopy(rng), support, draws)
        if other.error < _CLEARLY * found.error:
            found = other
    model = fit_model(
        found.features, latency, width=found.width, rng=rng, support=support, settings=found.settings,
        inventory=found.inventory,
    )  # fmt: skip
    model = replace(model, flow=int(found.flow), block=found.block)
    return finish_predictor(model, origin, found.networks, found.features, n=len(networks), scores=found.scores)


@dataclass(frozen=True, slots=True)
class _Validated:
    """Networks with their channels in blocks, and what predictions of held-out ones are worth."""

    block: int
    networks: Sequence[OpList]
    features: FloatArray
    flow: bool
    inventory: Inventory
    settings: Settings
    width: float
    scores: Scores | None
    error: float  # root mean square of the log error; infinite where nothing was held out


def _validated(
    networks: Sequence[OpList], latency: FloatArray, block: int, rng: np.random.Generator, support: int, draws: int
) -> _Validated:
    networks = [in_blocks(network, block) for network in networks]
    features, flow = features_matrix(networks)
    inventory = inventory_of(networks, flow=flow)
    settings = choose_settings(features, latency, rng, inventory)
    held_out, width, scores = cross_validate(
        features, latency, rng=rng, support=support, settings=settings, inventory=inventory
    )
    found = [] if held_out is None else [held_out.predicted]
    for _ in range(draws - 1):
        again, *_ = cross_validate(features, latency, rng=rng, support=support, settings=settings, inventory=inventory)
        found += [] if again is None else [again.predicted]
    error = float(np.sqrt(np.mean(np.log(np.array(found) / latency) ** 2))) if found else math.inf
    return _Validated(block, networks, features, flow, inventory, settings, width, scores, error)


def check_latencies(networks: Sequence[OpList], latency_ms: Sequence[float] | FloatArray) -> FloatArray:
    """The latencies as an array.

    Raises:
        PredictorError: no networks, as many latencies as networks are not given, or a latency is not > 0 and finite.
    """
    latency = np.asarray(latency_ms, dtype=float)
    if len(networks) == 0 or latency.shape != (len(networks),):
        raise PredictorError(f"fitting needs one latency a network, got {len(networks)} networks, {latency.shape}")
    if not (np.isfinite(latency) & (latency > 0)).all():
        bad = latency[~(np.isfinite(latency) & (latency > 0))][0]
        raise PredictorError(f"latencies must be > 0 ms and finite, got {bad}; measure again")
    return latency


def finish_predictor(
    model: Model,
    origin: Origin,
    networks: Sequence[OpList],
    features: FloatArray,
    *,
    n: int,
    scores: Scores | None,
    learned_from: tuple[str, ...] = (),
) -> LinearGpPredictor:
    """Put a model and its card together.

    Args:
        networks: those that are in the predictor's domain.
        features: of these, `len(networks) x len(COLUMNS)`.
        n: number of measurements.
        scores: of held-out networks.
        learned_from: ids of predictors of other devices.
    """
    ranges = ranges_of(networks)
    ranges["class"] = _class_ranges(features)
    return LinearGpPredictor(model, _card(origin, model, ranges, n, scores, learned_from))


@dataclass(frozen=True, slots=True)
class Settings:
    """What is chosen before a fit, so that fits of the same data need not choose again.

    Attributes:
        keep: columns that say something of their own, `len(COLUMNS)`.
        ridge: how strongly the prior is drawn towards a generic device.
        process: of the residual; None: there is none.
    """

    keep: NDArray[np.bool_]
    ridge: float
    process: Process | None


def choose_settings(
    features: FloatArray, latency: FloatArray, rng: np.random.Generator, inventory: Inventory | None = None
) -> Settings:
    """Settings for measurements: `n x len(COLUMNS)` features and `n` latencies in ms, and the networks' operations."""
    keep = separable(features)
    ridge = choose_ridge(features, latency, keep)
    weights, intercept = fit_prior(features, latency, keep, ridge)
    few = len(latency) < _MIN_FOR_RESIDUAL
    rest, _, _ = _rest(features, latency, keep, weights, intercept, inventory)
    return Settings(keep, ridge, None if few else choose_process(rest, rng))


def cross_validate(
    features: FloatArray,
    latency: FloatArray,
    *,
    rng: np.random.Generator,
    support: int = 300,
    folds: int = FOLDS,
    settings: Settings | None = None,
    inventory: Inventory | None = None,
) -> tuple[HeldOut | None, float, Scores | None]:
    """Fit without each fold and predict it; the width of the final interval; what the predictions are worth.

    Interval coverage is honest too: each fold's interval comes from the errors on the other folds. The few numbers of
    the settings are chosen once, from all measurements.

    Args:
        features: `n x len(COLUMNS)`.
        latency: `n`, ms.
        settings: chosen here, if not given.
        inventory: operations of the networks; without, single operations are not corrected.
    Returns:
        None instead of predictions and scores for less than 5 networks.
    """
    n = len(latency)
    if n < 5:
        return None, conformal_width(np.empty(0)), None
    settings = settings or choose_settings(features, latency, rng, inventory)
    fold_of = rng.permutation(n) % min(folds, n)
    predicted = np.empty(n)
    for fold in range(min(folds, n)):
        out = fold_of == fold
        known, asked = (None, None) if inventory is None else (inventory.rows(~out), inventory.rows(out))
        model = fit_model(
            features[~out], latency[~out], width=0.1, rng=rng, support=support, settings=settings, inventory=known
        )
        predicted[out] = model.latency_ms(features[out], asked)
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
    settings: Settings | None = None,
    inventory: Inventory | None = None,
) -> Model:
    """Fit prior and residual.

    Args:
        features: `n x len(COLUMNS)`.
        latency: `n`, ms.
        width: of the interval, on log latency.
        support: most points that a part of the residual keeps.
        settings: chosen here, if not given.
        inventory: operations of the networks; without, single operations are not corrected.
    """
    settings = settings or choose_settings(features, latency, rng, inventory)
    weights, intercept = fit_prior(features, latency, settings.keep, settings.ridge)
    columns = np.empty(0, dtype=np.int64)
    by_columns, by_totals, operations = Smooth.none(), Smooth.none(), (np.empty((0, POINT)), np.empty(0))
    if settings.process is not None:
        rest, column_scale, total_scale = _rest(features, latency, settings.keep, weights, intercept, inventory)
        found = fit_residual(rest, settings.process, support, rng)
        operations = found.operations
        if settings.process.column_length:
            columns = _columns(features, settings.keep)
            by_columns = _smooth(found.columns, column_scale, settings.process.column_length)
        if settings.process.total_length:
            by_totals = _smooth(found.totals, total_scale, settings.process.total_length)
    return Model(
        weights=weights, intercept=intercept, floor=_floor(latency), columns=columns, by_columns=by_columns,
        by_totals=by_totals, op_points=operations[0], op_alpha=operations[1], width=width, flow=0,
    )  # fmt: skip


def _floor(latency: FloatArray) -> float:
    return 0.01 * float(latency.min())


def _columns(features: FloatArray, keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Columns that a residual can read."""
    return np.flatnonzero(keep & (np.ptp(features, axis=0) > 0)).astype(np.int64)


def _rest(
    features: FloatArray,
    latency: FloatArray,
    keep: NDArray[np.bool_],
    weights: FloatArray,
    intercept: float,
    inventory: Inventory | None,
) -> tuple[Rest, Scale, Scale]:
    """What the prior leaves over; and center and scale of columns and totals."""
    prior = np.maximum(features @ weights + intercept, _floor(latency))
    columns = features[:, _columns(features, keep)]
    logs = log_totals(totals(features))
    column_scale, total_scale = _scale(columns), _scale(logs)
    rest = Rest(
        log_factor=np.log(latency / prior),
        columns=(columns - column_scale[0]) / column_scale[1],
        totals=(logs - total_scale[0]) / total_scale[1],
        shares=None if inventory is None else inventory.shares(weights, prior),
        points=np.empty((0, POINT)) if inventory is None else inventory.points,
    )
    return rest, column_scale, total_scale


def _scale(values: FloatArray) -> Scale:
    return values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)


def _smooth(points: tuple[FloatArray, FloatArray], scale: Scale, length: float) -> Smooth:
    return Smooth(center=scale[0], scale=scale[1], support=points[0], alpha=points[1], length=length)


def _class_ranges(features: FloatArray) -> dict[str, tuple[float, float]]:
    """Per class and role that was measured, the least and most operations of a network."""
    counts = features[:, : len(CLASSES) * len(ROLES)]
    lows, highs = counts.min(axis=0).tolist(), counts.max(axis=0).tolist()
    return {COLUMNS[at]: (low, high) for at, (low, high) in enumerate(zip(lows, highs, strict=True)) if high > 0}


def _card(
    origin: Origin,
    model: Model,
    ranges: dict[str, dict[str, tuple[float, float]]],
    n: int,
    scores: Scores | None,
    learned_from: tuple[str, ...],
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
        quantity=origin.quantity, learned_from=learned_from,
    )  # fmt: skip
