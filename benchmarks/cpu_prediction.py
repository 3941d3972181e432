"""Predicted against measured on this machine: 60 random networks that calibration never saw, and a run's front.

python benchmarks/cpu_prediction.py [--run RUN] [--space mobilenet] [--side 32]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import record

from hwnas.core.measurement import Measurement
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import find_device
from hwnas.latency.calibrate import calibrate_local
from hwnas.latency.draw import draw_candidates
from hwnas.measure.collect import collect
from hwnas.plugins import load_plugin
from hwnas.search.setup import CALIBRATION_S, THREADS
from hwnas.store import read_front
from hwnas.trace import operations


def summary(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Errors of (predicted, measured) pairs in ms."""
    error = np.array([abs(predicted / measured - 1) for predicted, measured in pairs])
    return {
        "n": len(pairs),
        "median_error": round(float(np.median(error)), 4),
        "within_5": round(float((error <= 0.05).mean()), 3),
        "within_10": round(float((error <= 0.10).mean()), 3),
        "worst": round(float(error.max()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    device, shape = find_device("cpu"), TaskShape((args.channels, args.side, args.side), 10)
    space = load_plugin("space", args.space).for_task(shape)
    predictors = calibrate_local(
        device, space, shape, device.precisions, threads=THREADS, budget_s=CALIBRATION_S, seed=0
    )
    # Another seed than calibration's, so that none of these networks was seen.
    candidates = draw_candidates(space, device.precisions, args.count, rng=np.random.default_rng(12345))
    results = collect(space, shape, device, candidates, threads=THREADS, seconds_per_model=0.6)
    rows: dict[str, list[tuple[float, float]]] = {precision: [] for precision in device.precisions}
    for result in results:
        if isinstance(result, Measurement) and result.stable is not False:
            predictor = predictors[result.precision]
            network = operations(space, result.candidate, shape, multiple=device.channel_multiple)
            rows[result.precision].append((predictor.predict([network])[0].latency_ms, result.percentile_ms(10)))
    figures = {
        "goal": {"median_error": 0.05, "within_10": 0.9},
        "space": args.space,
        "input_shape": list(shape.input_shape),
        "random": {precision: summary(pairs) for precision, pairs in rows.items() if pairs},
        "random_all": summary([pair for pairs in rows.values() for pair in pairs]),
    }
    if args.run is not None:
        entries = [model.latency["cpu"] for model in read_front(args.run).models]
        figures["front"] = summary([(e.predicted, e.measured.value) for e in entries if e.measured is not None])
    record(f"cpu-prediction-{args.space}-{args.side}", "python benchmarks/cpu_prediction.py", figures)


if __name__ == "__main__":
    main()
