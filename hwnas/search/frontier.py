"""From finished models to front.json: measured where the device is at hand, predicted everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry, MeasuredLatency
from hwnas.core.measurement import Measurement
from hwnas.core.pareto import hypervolume_2d, is_clearly_dominated
from hwnas.errors import MeasurementError
from hwnas.measure.board import reached
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.search.budget import Budget
from hwnas.search.events import Listener
from hwnas.search.finish import Finished
from hwnas.search.setup import THREADS, Setup
from hwnas.search.study import Evaluated

__all__ = ["assemble", "measure_finished", "still_wanted"]

SECONDS_PER_MODEL = 2.5
Pairs = Sequence[tuple[Evaluated, Finished]]


def still_wanted(finished: Pairs) -> list[tuple[Evaluated, Finished]]:
    """Those that are not clearly worse than a faster one, by predicted latency and validation accuracy."""
    latency_ms = np.array([record.latency_ms for record, _ in finished])
    return [pair for pair, keep in zip(finished, _kept(latency_ms, finished), strict=True) if keep]


def _kept(latency_ms: NDArray[np.float64], finished: Pairs) -> NDArray[np.bool_]:
    """A front of finished models leaves out what is clearly beaten on the validation split, and keeps what is not.

    The test split decides nothing: it is only reported.
    """
    accuracy = np.array([made.validation.accuracy for _, made in finished])
    n = finished[0][1].validation.n if finished else 1
    return np.asarray(~is_clearly_dominated(latency_ms, accuracy, n))


def measure_finished(finished: Pairs, setup: Setup, folder: Path, listener: Listener) -> dict[str, Measurement]:
    """Measure the files where the device can be reached: id -> measurement; what failed is left out and said."""
    if not setup.device.can_be_measured or not finished:
        return {}
    try:
        start = reached(setup.device)
    except MeasurementError as error:  # a board that is off does not cost the models
        listener.note(f"the front is not measured: {error}; `hwnas verify` does it later")
        return {}
    items = [
        MeasureItem(
            made.candidate,
            folder / made.manifest["artifact"]["path"],
            made.candidate.compression.precision,
            tuple(setup.task.input_shape),
        )
        for _, made in finished
    ]
    listener.phase("measure", len(items))
    shown = 0

    def on_progress(done: int, total: int) -> None:
        nonlocal shown
        listener.advance(done - shown)
        shown = done

    results = measure_files(
        items,
        device=setup.device.name,
        runtime=setup.runtime.name,
        threads=THREADS,
        seconds_per_model=SECONDS_PER_MODEL,
        on_progress=on_progress,
        start=start,
    )
    found = {}
    for result in results:
        if isinstance(result, Measurement):
            found[result.candidate.id] = result
        else:
            listener.note(f"model {result.candidate.id} was not measured: {result.reason}")
    return found


def assemble(
    finished: Pairs,
    measured: Mapping[str, Measurement],
    budget: Budget,
    setup: Setup,
    reference: tuple[float, float],
    *,
    seed: int,
) -> Front:
    """The front of the finished models: by measured latency where there is one, and by the accuracy of the file."""
    device = setup.device.name
    models = [_model(made, budget, device, measured.get(made.candidate.id)) for _, made in finished]
    latency_ms = np.array([model.latency_ms for model in models])
    kept = [model for model, keep in zip(models, _kept(latency_ms, finished), strict=True) if keep]
    costs = np.array([(model.latency_ms, 1 - model.accuracy) for model in kept]).reshape(-1, 2)
    inside = costs[(costs <= np.asarray(reference)).all(axis=1)]
    return Front(
        task=setup.task.name,
        space=setup.space.name,
        seed=seed,
        devices=(device,),
        reference_point={device: reference},
        hypervolume={device: hypervolume_2d(inside, np.asarray(reference))},
        models=tuple(kept),
    )


def _model(made: Finished, budget: Budget, device: str, measurement: Measurement | None) -> FrontModel:
    prediction = budget.scorer.predict(made.candidate)
    artifact = made.manifest["artifact"]
    entry = LatencyEntry(
        predicted=prediction.latency_ms,
        low=prediction.low_ms,
        high=prediction.high_ms,
        in_domain=prediction.in_domain,
        predictor=prediction.predictor,
        measured=None if measurement is None else _measured(measurement),
    )
    return FrontModel(
        id=made.candidate.id,
        architecture=made.candidate.architecture,
        compression=made.candidate.compression,
        accuracy_detail=made.test,
        latency={device: entry},
        energy_mj={device: None if measurement is None else measurement.energy_mj},
        macs=made.manifest["macs"],
        params=made.manifest["params"],
        size_bytes=artifact["size_bytes"],
        artifacts={artifact["format"]: Artifact(artifact["path"], artifact["sha256"])},
    )


def _measured(measurement: Measurement) -> MeasuredLatency:
    return MeasuredLatency(
        value=measurement.percentile_ms(10),
        statistic="p10",
        p10=measurement.percentile_ms(10),
        p50=measurement.percentile_ms(50),
        p95=measurement.percentile_ms(95),
        n=len(measurement.pooled_ms),
        rounds=len(measurement.samples_ms),
        runtime=measurement.runtime,
        threads=measurement.threads,
        stable=measurement.stable,
    )
