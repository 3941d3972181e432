"""From finished models to front.json: measured where the device is at hand, predicted everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry, MeasuredLatency
from hwnas.core.measurement import Measurement
from hwnas.core.pareto import hypervolume_within, is_clearly_dominated
from hwnas.core.predictor import Prediction
from hwnas.errors import MeasurementError
from hwnas.export.bundle import artifacts_of, facts_for
from hwnas.measure.board import reached
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.search.budget import Budget
from hwnas.search.evaluated import Evaluated
from hwnas.search.events import Listener
from hwnas.search.finish import Finished
from hwnas.search.setup import THREADS, Setup
from hwnas.search.targets import Targets

__all__ = ["assemble", "measure_finished", "model_of", "still_wanted"]

SECONDS_PER_MODEL = 2.5
Pairs = Sequence[tuple[Evaluated, Finished]]


def still_wanted(finished: Pairs) -> list[tuple[Evaluated, Finished]]:
    """Those that are, on some device, not clearly worse than a faster one: by prediction and validation accuracy."""
    devices = finished[0][0].latency_ms if finished else ()
    latency_ms = [np.array([record.latency_ms[device] for record, _ in finished]) for device in devices]
    return [pair for pair, keep in zip(finished, _kept(latency_ms, finished), strict=True) if keep]


def _kept(latency_ms: Sequence[NDArray[np.float64]], finished: Pairs) -> NDArray[np.bool_]:
    """A front of finished models leaves out what is clearly beaten on the validation split, and keeps what is not.

    Latencies are given for each device; beaten is what is on all of them.

    The test split decides nothing: it is only reported.
    """
    accuracy = np.array([made.validation.accuracy for _, made in finished])
    n = finished[0][1].validation.n if finished else 1
    kept = [~is_clearly_dominated(of_device, accuracy, n) for of_device in latency_ms]
    return np.asarray(np.array(kept, dtype=bool).reshape(len(kept), len(finished)).any(axis=0))


def measure_finished(
    finished: Sequence[Finished], setup: Setup, folder: Path, listener: Listener, *, phase: str = "measure"
) -> dict[str, Measurement]:
    """Measure the files on a device, where it can be reached: id -> measurement; what failed is left out and said."""
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
            folder / facts_for(made.manifest, setup.runtime.name)["artifact"]["path"],
            made.candidate.compression.precision,
            tuple(setup.task.input_shape),
            setup.task.n_ids,
        )
        for made in finished
    ]
    listener.phase(phase, len(items))
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
    measured: Mapping[str, Mapping[str, Measurement]],
    budget: Budget,
    targets: Targets,
    reference: Mapping[str, tuple[float, float]],
    *,
    seed: int,
) -> Front:
    """The front of the finished models: by measured latency where there is one, and by the accuracy of the file.

    Args:
        measured: device -> id -> measurement.
        reference: device -> the bad corner of its hypervolume.
    """
    models = [model_of(made, budget, targets.devices, measured) for _, made in finished]
    latency_ms = [np.array([model.latency[device].best_ms for model in models]) for device in targets.devices]
    kept = [model for model, keep in zip(models, _kept(latency_ms, finished), strict=True) if keep]
    return Front(
        task=targets.first.task.name,
        space=targets.first.space.name,
        seed=seed,
        devices=targets.devices,
        reference_point=dict(reference),
        hypervolume={device: _area(kept, device, reference[device]) for device in targets.devices},
        models=tuple(kept),
    )


def _area(models: Sequence[FrontModel], device: str, reference: tuple[float, float]) -> float:
    costs = np.array([(model.latency[device].best_ms, 1 - model.accuracy) for model in models]).reshape(-1, 2)
    return hypervolume_within(costs, reference)


def model_of(
    made: Finished, budget: Budget, devices: Sequence[str], measured: Mapping[str, Mapping[str, Measurement]]
) -> FrontModel:
    """All that is known of a finished model, as the front says it.

    Args:
        measured: device -> id -> measurement.
    """
    promised, artifact = _promised(made, budget), made.manifest["artifact"]
    seen = {device: measured.get(device, {}).get(made.candidate.id) for device in devices}
    return FrontModel(
        id=made.candidate.id,
        architecture=made.candidate.architecture,
        compression=made.candidate.compression,
        accuracy_detail=made.test,
        latency={device: _entry(promised[device], seen[device]) for device in devices},
        energy_mj={device: None if one is None else one.energy_mj for device, one in seen.items()},
        macs=made.manifest["macs"],
        params=made.manifest["params"],
        size_bytes=artifact["size_bytes"],
        artifacts={a["format"]: Artifact(a["path"], a["sha256"]) for a in artifacts_of(made.manifest)},
    )


def _promised(made: Finished, budget: Budget) -> dict[str, Prediction]:
    """Predictions of a model; of one with layers in fp32 by the shares of its multiply-adds, and out of domain."""
    found, share = budget.predict(made.candidate), made.share_in_fp32
    if share == 0:
        return found
    whole = budget.predict(replace(made.candidate, compression=replace(made.candidate.compression, precision="fp32")))
    return {device: _between(prediction, whole[device], share) for device, prediction in found.items()}


def _between(int8: Prediction, fp32: Prediction, share: float) -> Prediction:
    return replace(
        int8,
        latency_ms=int8.latency_ms + share * (fp32.latency_ms - int8.latency_ms),
        low_ms=min(int8.low_ms, fp32.low_ms),
        high_ms=max(int8.high_ms, fp32.high_ms),
        in_domain=False,
        reason="some of its layers are fp32, the others int8",
    )


def _entry(prediction: Prediction, measurement: Measurement | None) -> LatencyEntry:
    return LatencyEntry(
        predicted=prediction.latency_ms,
        low=prediction.low_ms,
        high=prediction.high_ms,
        in_domain=prediction.in_domain,
        predictor=prediction.predictor,
        measured=None if measurement is None else _measured(measurement),
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
