"""A predictor from measurements: from a file, or from candidates that are measured here and now."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement
from hwnas.core.ops import OpList
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.devices.cpu import machine_name
from hwnas.errors import MeasurementError
from hwnas.latency.draw import draw_candidates
from hwnas.latency.energy import FittedEnergy
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.known import known_predictors
from hwnas.latency.library import find_predictors, kept_measurements, save_predictor
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.latency.records import Samples, prepare
from hwnas.latency.transfer import FEW, fit_transferred
from hwnas.measure.board import describe_board
from hwnas.measure.collect import collect
from hwnas.plugins import load_plugin, plugin_names
from hwnas.trace import operations

__all__ = [
    *("calibrate_local", "from_measurements"),
    *("learn_from", "predictors_from_measurements"),
]

Progress = Callable[[int, int], None]

SECONDS_PER_MODEL = 0.6
# Assumed until the first batch was timed: building, exporting and loading a network, beside timing it.
EXPORT_S = {"fp32": 0.3, "fp16": 0.5, "bf16": 0.5, "int8": 1.2}
BATCH = 24
MOST_CANDIDATES = 160  # per precision: more hardly helps
MOST_WORSE = (
    1.5  # times the held-out error before, beyond which new measurements are of another machine, or another day
)
_START_S = 3.0
_MIN_ALONE = 20  # measurements from which a device is learned without others as well, or better
_POOL = 400  # networks of a space that a predictor from few measurements is worked out on


def from_measurements(
    device: Device,
    measurements: Iterable[Measurement],
    *,
    precision: str | None = None,
    n_outputs: int = 10,
    source: str = "own measurements",
    licence: str = "not published",
    seed: int = 0,
    spaces: Sequence[SearchSpace] = (),
    sources: Sequence[str] | None = None,
    like: TaskLike | None = None,
) -> LinearGpPredictor:
    """Fit a predictor to measurements of one precision; any number of them does.

    Unstable measurements are left out, and repeated ones of a candidate averaged. From few measurements it is learned
    with the help of known devices (see `hwnas.latency.transfer`), from many without. Where enough of them hold the
    energy of an inference, that is learned, too.

    Args:
        device: what was measured; its channel multiple decides what pruning left.
        measurements: all under the same conditions.
        precision: which to take of a file that has several; None: there must be only one.
        n_outputs: number of classes of the networks.
        source, licence: for the card.
        seed: of the folds that the card's figures are held out by.
        spaces: that are not installed as plugins; all others are looked up by their name.
        sources: names of the known devices to learn from; none if empty; None: all that know the space, where there
            are no more than `FEW` measurements, and their help makes the held-out error smaller.
        like: the task that the networks were built for, where more than `n_outputs` is to be known of it (the number
            of ids, the sample rate); each record says its input's shape itself.
    Raises:
        UnknownPluginError, PredictorError: a source is not known, or has no predictor.
        MeasurementError: conditions are mixed, repeated measurements disagree, latencies are constant or of mixed
            units, or nothing stable is left.
        InvalidArchitectureError: an architecture is not in its space.
    """
    samples = prepare(measurements, device=device.name, precision=precision)
    task = TaskShape((), n_outputs) if like is None else TaskShape.of(like)
    networks = _networks(samples, device, task, spaces)
    samples.check_against(networks)
    first = samples.first
    origin = Origin(
        device=device.name, runtime=first.runtime, runtime_version=first.runtime_version, precision=first.precision,
        batch=first.batch, threads=first.threads, power_mode=first.power_mode, statistic=samples.statistic,
        source=source, licence=licence, spaces=samples.spaces, input_shapes=samples.input_shapes,
    )  # fmt: skip
    fitted = _fit_latency(device, samples, networks, origin, task, spaces, sources, seed)
    return LinearGpPredictor(fitted.model, fitted.card, _fit_energy(samples, networks, origin, seed))


def _fit_latency(
    device: Device,
    samples: Samples,
    networks: Sequence[OpList],
    origin: Origin,
    task: TaskShape,
    spaces: Sequence[SearchSpace],
    sources: Sequence[str] | None,
    seed: int,
) -> LinearGpPredictor:
    rng = np.random.default_rng(seed)
    few = len(networks) < _MIN_ALONE or (len(networks) <= FEW and sources is None)
    if not few and not sources:
        return fit_predictor(networks, samples.latency_ms, origin, rng=rng)
    known = known_predictors(device, samples.spaces, sources)
    if not known and len(networks) >= _MIN_ALONE:
        return fit_predictor(networks, samples.latency_ms, origin, rng=rng)
    pool = _pool(samples, device, task, spaces, rng)
    helped = fit_transferred(networks, samples.latency_ms, origin, pool=pool, sources=known, rng=rng)
    if len(networks) < _MIN_ALONE or sources is not None:
        return helped
    alone = fit_predictor(networks, samples.latency_ms, origin, rng=rng)
    return min(helped, alone, key=lambda predictor: predictor.card.mape or math.inf)


def _fit_energy(samples: Samples, networks: Sequence[OpList], origin: Origin, seed: int) -> FittedEnergy | None:
    """None where too few of the networks' energies were read; no known device helps, for nobody published theirs."""
    known = np.flatnonzero(np.isfinite(samples.energy_mj))
    if len(known) < _MIN_ALONE:
        return None
    of_energy = replace(origin, quantity="energy", statistic="mean over calls")
    rng = np.random.default_rng([seed, 1])
    read = [networks[int(at)] for at in known]
    return FittedEnergy(fit_predictor(read, samples.energy_mj[known], of_energy, rng=rng))


def predictors_from_measurements(
    device: Device,
    measurements: Iterable[Measurement],
    *,
    n_outputs: int = 10,
    seed: int = 0,
    sources: Sequence[str] | None = None,
    like: TaskLike | None = None,
) -> dict[str, LinearGpPredictor]:
    """One predictor for each precision in the measurements; see `from_measurements`."""
    kept = list(measurements)
    wanted = [p for p in device.precisions if any(m.precision == p for m in kept)]
    wanted += sorted({m.precision for m in kept} - set(wanted))
    if not wanted:
        prepare(kept, device=device.name, precision=None)  # raises: there is nothing
    return {
        p: from_measurements(device, kept, precision=p, n_outputs=n_outputs, seed=seed, sources=sources, like=like)
        for p in wanted
    }


def calibrate_local(
    device: Device,
    space: SearchSpace,
    task_like: TaskLike,
    precisions: Sequence[str],
    *,
    threads: int,
    budget_s: float = 120.0,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> dict[str, LatencyPredictor]:
    """Predictors of this machine for a space: from the cache, or measured now and kept there.

    Args:
        device: a local one.
        space, task_like: whose networks are measured.
        precisions: what is needed.
        threads: of a running network.
        budget_s: about how long measuring may take; at least one network per precision is measured.
        on_progress: called with (steps done, all steps).
    Returns:
        precision -> predictor, in the order of `precisions`.
    Raises:
        MeasurementError: the device is not this machine, or nothing stable could be measured in a precision.
    """
    bound = space.for_task(task_like)
    # Spaces of one's own may share a name and differ, so what was measured for one is not kept for another.
    is_kept = space.name in plugin_names("space")
    known = _cached(device, bound, task_like, threads) if is_kept else {}
    missing = [precision for precision in precisions if precision not in known]
    if missing:
        measured, reasons = _measure(device, bound, task_like, missing, threads, budget_s, seed, on_progress)
        _check_measured(device, space, missing, measured, reasons)
        for precision in missing:
            mine = [m for m in measured if m.precision == precision]
            known[precision] = predictor = _fit_own(device, bound, task_like, mine, seed)
            if is_kept:
                save_predictor(predictor, local=device.is_local, measured=mine)
    return {precision: known[precision] for precision in precisions}


def learn_from(
    device: Device,
    space: SearchSpace,
    task_like: TaskLike,
    measured: Sequence[Measurement],
    *,
    threads: int,
    seed: int = 0,
) -> tuple[dict[str, LatencyPredictor], list[str]]:
    """Let the predictors that a device calibrated learn from models that were measured since.

    A search looks for networks that seem fast, and so finds those whose latency is predicted too low. What it then
    measured tells it, and the next search.

    Args:
        device, space, task_like, threads: as for `calibrate_local`.
        measured: of networks of the space; unstable ones are left out.
    Returns:
        Predictors that learned, by precision, and a sentence for each one that was looked at; none where the device
        keeps no measurements.
    """
    bound = space.for_task(task_like)
    learned: dict[str, LatencyPredictor] = {}
    said: list[str] = []
    known = _cached(device, bound, task_like, threads) if space.name in plugin_names("space") else {}
    for precision, predictor in known.items():
        new = [m for m in measured if m.precision == precision and m.stable is not False]
        before = predictor.card.mape or 0.0
        try:
            earlier = kept_measurements(predictor.card, local=device.is_local)
            if not new or not earlier:
                continue
            refitted = _fit_own(device, bound, task_like, [*earlier, *new], seed)
        except MeasurementError as error:  # repeated ones disagree, or the file was broken
            said.append(f"the {precision} predictor of {device.name} stays as it is: {error}")
            continue
        after = refitted.card.mape or 0.0
        if after > MOST_WORSE * before:
            said.append(
                f"the {precision} models measured now do not fit what {device.name} was calibrated on (error "
                f"{before:.1%} became {after:.1%}): the predictor stays. On an idle machine, calibrate again"
            )
            continue
        save_predictor(refitted, local=device.is_local, measured=[*earlier, *new])
        learned[precision] = refitted
        said.append(
            f"the {precision} predictor of {device.name} learned from {len(new)} measured models: "
            f"held-out error {after:.1%}, was {before:.1%}"
        )
    return learned, said


def _fit_own(
    device: Device, bound: SearchSpace, task_like: TaskLike, measured: Sequence[Measurement], seed: int
) -> LinearGpPredictor:
    where = f"calibrated on this machine ({machine_name()})" if device.is_local else f"calibrated on {device.host}"
    return from_measurements(
        device, measured, like=task_like, seed=seed,
        source=where, licence="own measurements", spaces=[bound],
    )  # fmt: skip


def _check_measured(
    device: Device, space: SearchSpace, precisions: Sequence[str], measured: Sequence[Measurement], reasons: list[str]
) -> None:
    for precision in precisions:
        if not any(m.precision == precision and m.stable is not False for m in measured):
            why = f": {reasons[0]}" if reasons else ""
            raise MeasurementError(
                f"no {precision} network of space {space.name!r} could be measured on {device.name}{why}; "
                "try again on an idle machine, or leave the precision out with --precision"
            )


def _cached(device: Device, space: SearchSpace, task: TaskLike, threads: int) -> dict[str, LatencyPredictor]:
    local = device.is_local
    version = load_plugin("runtime", device.runtime)().version() if local else describe_board(device)["runtime_version"]
    found = find_predictors(
        device, space=space.name, input_shape=tuple(task.input_shape), threads=threads, runtime_version=version
    )
    return {
        precision: predictor
        for precision, predictor in found.items()
        if space.name in predictor.card.spaces
        and tuple(task.input_shape) in predictor.card.input_shapes
        and predictor.card.runtime_version == version
        and predictor.card.threads == threads
    }


def _measure(
    device: Device,
    space: SearchSpace,
    task: TaskLike,
    precisions: Sequence[str],
    threads: int,
    budget_s: float,
    seed: int,
    on_progress: Progress | None,
) -> tuple[list[Measurement], list[str]]:
    """Measure in batches, as many as the time allows; and the reasons of failures."""
    end = time.monotonic() + 0.92 * budget_s  # the rest is for fitting
    each_s = SECONDS_PER_MODEL + float(np.mean([EXPORT_S.get(p, 1.0) for p in precisions]))
    report = on_progress or (lambda done, total: None)
    count = int(np.clip((budget_s - _START_S) / each_s / len(precisions), 1, MOST_CANDIDATES))
    waiting = draw_candidates(space, precisions, count, rng=np.random.default_rng(seed))
    measured: list[Measurement] = []
    reasons: list[str] = []
    done = 0
    while waiting and (done == 0 or time.monotonic() < end):
        fits = int((end - time.monotonic() - _START_S) / each_s)
        size = max(min(BATCH, fits), len(precisions) if done == 0 else 0)
        if size == 0:
            break
        batch, waiting = waiting[:size], waiting[size:]
        started, total = time.monotonic(), done + size + min(len(waiting), max(fits - size, 0))
        results = collect(
            space, task, device, batch, threads=threads, seconds_per_model=SECONDS_PER_MODEL,
            on_progress=lambda steps, _, done=done, total=total: report(2 * done + steps, 2 * total),  # type: ignore[misc]
        )  # fmt: skip
        each_s = max((time.monotonic() - started - _START_S / 2) / size, 0.05)
        done += size
        measured += [result for result in results if isinstance(result, Measurement)]
        reasons += [result.reason for result in results if not isinstance(result, Measurement)]
    report(2 * done, 2 * done)
    return measured, reasons


def _networks(samples: Samples, device: Device, like: TaskShape, given: Sequence[SearchSpace]) -> list[OpList]:
    networks = []
    for candidate, shape in zip(samples.candidates, samples.shapes, strict=True):
        bound, task = _bind(candidate, shape, like, given)
        bound.check(candidate.architecture)
        networks.append(operations(bound, candidate, task, multiple=device.channel_multiple))
    return networks


def _bind(
    candidate: Candidate, shape: tuple[int, ...] | None, like: TaskShape, given: Sequence[SearchSpace]
) -> tuple[SearchSpace, TaskShape]:
    """The space of a measured candidate, bound to the input that it was measured with."""
    name = candidate.architecture.space
    unbound = {space.name: space for space in given}.get(name) or load_plugin("space", name)
    size = shape or unbound.input_shape
    if size is None:
        raise MeasurementError(
            f"candidate {candidate.id}: the record has no input_shape, and space {unbound.name!r} has no "
            "fixed one; measure again with `hwnas measure`"
        )
    task = replace(like, input_shape=tuple(size))
    return unbound.for_task(task), task


def _pool(
    samples: Samples, device: Device, like: TaskShape, given: Sequence[SearchSpace], rng: np.random.Generator
) -> list[OpList]:
    """Networks of the measured spaces and inputs, pruned where measured ones were."""
    kinds = {
        (c.architecture.space, shape): (c, shape) for c, shape in zip(samples.candidates, samples.shapes, strict=True)
    }
    pruned = any(candidate.compression.prune for candidate in samples.candidates)
    precision = samples.first.precision
    pool = []
    for candidate, shape in kinds.values():
        bound, task = _bind(candidate, shape, like, given)
        for drawn in draw_candidates(bound, [precision], -(-_POOL // len(kinds)), rng=rng):
            plan = drawn.compression if pruned else CompressionPlan.of(precision)
            network = Candidate(drawn.architecture, plan)
            pool.append(operations(bound, network, task, multiple=device.channel_multiple))
    return pool
