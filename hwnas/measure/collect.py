"""Measure candidates: build them with fresh weights, export them, time the files."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement
from hwnas.core.runtime import ExportSpec, Runtime, random_input
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.errors import BuildError, InvalidArchitectureError, RuntimeExportError
from hwnas.measure.board import flags_of, reached
from hwnas.measure.session import MeasureItem, MeasurementFailure, Progress, measure_files
from hwnas.plugins import load_plugin

__all__ = ["collect"]

# Latency does not depend on the values that int8 ranges are set from, so a few samples do.
CALIBRATION_SAMPLES = 8


def collect(
    space: SearchSpace,
    task_like: TaskLike,
    device: Device,
    candidates: Sequence[Candidate],
    *,
    threads: int,
    seconds_per_model: float,
    on_progress: Progress | None = None,
) -> list[Measurement | MeasurementFailure]:
    """Measure the latency of candidates on a device, with fresh weights (latency does not depend on them).

    Args:
        space: the space of the candidates, bound to the task.
        task_like: input shape and number of outputs.
        device: this machine, or a board that is reached from here.
        threads: of each model; `seconds_per_model`: about what timing one costs, its export not included.
        on_progress: called with (steps done, all steps); a candidate is two steps, its export and its timing.
    Returns:
        One result a candidate, in their order; what cannot be built or exported is a failure.
    Raises:
        MeasurementError: the device cannot be reached from here.
    """
    start = reached(device)  # before anything is exported
    runtime: Runtime = load_plugin("runtime", device.runtime)()
    total = 2 * len(candidates)
    report = on_progress or (lambda done, total: None)
    failures: dict[int, MeasurementFailure] = {}
    items: dict[int, MeasureItem] = {}
    with tempfile.TemporaryDirectory(prefix="hwnas-measure-") as folder:
        for index, candidate in enumerate(candidates):
            path = Path(folder) / f"{index}{runtime.suffix}"
            try:
                items[index] = _export(runtime, space, candidate, task_like, device, path)
            except (BuildError, InvalidArchitectureError, RuntimeExportError) as error:
                failures[index] = MeasurementFailure(candidate, str(error))
            report(index + 1, total)
        done = total - len(items)
        report(done, total)
        measured = measure_files(
            list(items.values()),
            device=device.name,
            runtime=runtime.name,
            threads=threads,
            seconds_per_model=seconds_per_model,
            on_progress=lambda timed, _: report(done + timed, total),
            start=start,
        )
    results = failures | dict(zip(items, measured, strict=True))
    return [results[index] for index in range(len(candidates))]


def _export(
    runtime: Runtime, space: SearchSpace, candidate: Candidate, task_like: TaskLike, device: Device, path: Path
) -> MeasureItem:
    from hwnas.elastic.space import build_candidate

    precision = candidate.compression.precision
    task = TaskShape.of(task_like)
    shape = task.input_shape
    model: Any = build_candidate(space, candidate, task_like, multiple=device.channel_multiple)
    calibration = None
    if precision == "int8":
        calibration = random_input((CALIBRATION_SAMPLES, *shape), task.n_ids, np.random.default_rng(0))
    spec = ExportSpec(
        precision=precision, input_shape=shape, n_ids=task.n_ids, calibration=calibration, cpu_flags=flags_of(device)
    )
    runtime.export(model, spec, path)
    return MeasureItem(candidate, path, precision, shape, task.n_ids)
