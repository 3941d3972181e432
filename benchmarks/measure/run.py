"""Measuring on this machine: `python benchmarks/measure/run.py` writes benchmarks/results/<date>-measure.json.

    python benchmarks/measure/run.py [--only repeat calibrate] [--runtimes onnxruntime ...] [--networks 100]

- repeat: one network measured in 20 processes, one after the other, at each precision of each runtime. How far apart
  the compared statistic lies (90th over 10th percentile of the 20), and how many verdicts "stable" were off by more
  than 5 % from the median of the 20.
- calibrate: a predictor learned from N networks, chosen as `hwnas measure` chooses them, and asked for as many drawn
  ones that it never saw: median error, share within 10 %, share inside the 90 % interval.
Runtimes that are not installed are left out, and named.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import all_devices
from hwnas.errors import MissingDependencyError
from hwnas.latency.calibrate import from_measurements
from hwnas.latency.draw import choose_candidates, draw_candidates
from hwnas.measure.board import flags_of
from hwnas.measure.collect import collect
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.plugins import load_plugin
from hwnas.trace import checked_build, operations

TASK = TaskShape((3, 32, 32), 10)
PROCESSES, OFF = 20, 0.05


def here(names: list[str] | None) -> tuple[list[Device], list[str]]:
    """This machine with each runtime, and the runtimes that are missing."""
    found, missing = [], []
    for device in all_devices():
        if device.is_local and (names is None or device.runtime in names):
            try:
                load_plugin("runtime", device.runtime)().version()
                found.append(device)
            except MissingDependencyError:
                missing.append(device.runtime)
    return found, missing


def spread(lows_ms: NDArray[np.float64]) -> float | None:
    """The 90th over the 10th percentile; None of nothing."""
    return round(float(np.percentile(lows_ms, 90) / np.percentile(lows_ms, 10)), 4) if len(lows_ms) else None


def repeat(device: Device, precision: str, seconds: float) -> dict[str, Any]:
    """One network in 20 processes."""
    space = load_plugin("space", "mobilenet").for_task(TASK)
    middle = {choice.label: choice.options[len(choice.options) // 2] for choice in space.choices}
    candidate = Candidate(space.architecture(middle), CompressionPlan.of(precision))
    runtime = load_plugin("runtime", device.runtime)()
    samples = np.random.default_rng(0).standard_normal((8, *TASK.input_shape)).astype(np.float32)
    spec = ExportSpec(
        precision=precision, input_shape=TASK.input_shape, calibration=samples, cpu_flags=flags_of(device)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{runtime.suffix}"
        runtime.export(checked_build(space, candidate, TASK).eval(), spec, path)
        item = MeasureItem(candidate, path, precision, TASK.input_shape)
        measured = [
            measure_files([item], device=device.name, runtime=runtime.name, threads=1, seconds_per_model=seconds)[0]
            for _ in range(PROCESSES)
        ]
    good = [m for m in measured if isinstance(m, Measurement)]
    lows = np.array([m.percentile_ms(10) for m in good])
    middle_ms = statistics.median(lows)
    stable = np.array([m.stable is True for m in good])
    return {
        "runtime": device.runtime,
        "precision": precision,
        "median_ms": middle_ms,
        "p90_over_p10": spread(lows),
        "p90_over_p10_of_stable": spread(lows[stable]),
        "stable": int(stable.sum()),
        "of": len(good),
        "stable_and_off": int((stable & (np.abs(lows / middle_ms - 1) > OFF)).sum()),
    }


def calibrate(device: Device, precision: str, count: int, seconds: float) -> dict[str, Any]:
    """Learn from `count` networks, and predict as many others."""
    space, rng = load_plugin("space", "mobilenet").for_task(TASK), np.random.default_rng(0)
    learned = choose_candidates(space, TASK, device, (precision,), count, rng=rng)
    others = draw_candidates(space, (precision,), count + 3, rng=np.random.default_rng(1))[3:]
    others = [candidate for candidate in others if candidate not in set(learned)]
    start = time.monotonic()
    measured = collect(space, TASK, device, [*learned, *others], threads=1, seconds_per_model=seconds)
    spent_s = time.monotonic() - start
    good = [m for m in measured if isinstance(m, Measurement) and m.stable is not False]
    asked = set(others)
    predictor = from_measurements(device, [m for m in good if m.candidate not in asked], n_outputs=TASK.n_outputs)
    held_out = [m for m in good if m.candidate in asked]
    found = predictor.predict([operations(space, m.candidate, TASK) for m in held_out])
    real = np.array([m.percentile_ms(10) for m in held_out])
    error = np.abs(np.array([p.latency_ms for p in found]) / real - 1)
    inside = [p.low_ms <= ms <= p.high_ms for p, ms in zip(found, real, strict=True)]
    return {
        "runtime": device.runtime,
        "precision": precision,
        "learned_from": len(good) - len(held_out),
        "held_out": len(held_out),
        "unstable": len(measured) - len(good),
        "median_error": round(float(np.median(error)), 4),
        "within_10": round(float((error <= 0.1).mean()), 3),
        "covered": round(float(np.mean(inside)), 3),
        "measuring_s": round(spent_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["repeat", "calibrate"], choices=["repeat", "calibrate"])
    parser.add_argument("--runtimes", nargs="+")
    parser.add_argument("--precisions", nargs="+")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=2.5, help="for each network")
    args = parser.parse_args()
    devices, missing = here(args.runtimes)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in args.only}
    for device in devices:
        for precision in device.precisions:
            if args.precisions and precision not in args.precisions:
                continue
            for name in args.only:
                row = (
                    repeat(device, precision, args.seconds)
                    if name == "repeat"
                    else calibrate(device, precision, args.networks, args.seconds)
                )
                rows[name].append(row)
                print(name, row, flush=True)
    goals = {"p90_over_p10": 1.05, "stable_and_off": 0, "median_error": 0.03, "within_10": 0.95}
    record("measure", "python benchmarks/measure/run.py", {"goal": goals, "not_installed": missing, **rows})


if __name__ == "__main__":
    main()
