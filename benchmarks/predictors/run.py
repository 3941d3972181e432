"""How good and how fast predictors are: `python benchmarks/predictors/run.py` writes benchmarks/results/.

Each published target is fitted on 10, 20, 100 and 900 of its networks, five draws each, and scored on all others. The
quarter of the table whose index is a multiple of 4 served for choosing features and is in no figure.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from predictors.targets import DATA, TARGETS, Table, load_table

from hwnas.core.ops import OpList, Segment
from hwnas.latency.features import knows_flow, matrix
from hwnas.latency.fit import cross_validate, fit_model, fit_predictor
from hwnas.latency.scores import score

FloatArray = NDArray[np.float64]

SAMPLES, SEEDS = (10, 20, 100, 900), 5
FIGURES = ("mape", "within_10", "spearman", "coverage")
RESULTS = Path(__file__).parents[1] / "results"


def evaluate(features: FloatArray, latency: FloatArray, count: int, seed: int) -> dict[str, float]:
    """Fit on `count` networks drawn by `seed`, score on the others; the interval is learned from the `count` too."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(latency))
    known, new = order[:count], order[count:]
    _, width, _ = cross_validate(features[known], latency[known], rng=rng)
    model = fit_model(features[known], latency[known], width=width, rng=rng)
    predicted = model.latency_ms(features[new])
    found = score(latency[new], predicted, predicted * np.exp(-width), predicted * np.exp(width))
    return {name: float(getattr(found, name) or 0.0) for name in FIGURES}


def floor(features: FloatArray, latency: FloatArray) -> float | None:
    """Mean relative difference of networks from others with the very same features: about what a fit can reach."""
    groups: dict[bytes, list[float]] = {}
    for row, value in zip(features, latency, strict=True):
        groups.setdefault(np.round(row, 9).tobytes(), []).append(float(value))
    errors = []
    for values in (v for v in groups.values() if len(v) > 2):
        spread = np.abs(np.array(values) / np.mean(values) - 1)
        errors += (spread * np.sqrt(len(values) / (len(values) - 1))).tolist()
    return float(np.mean(errors)) if errors else None


def accuracy(table: Table) -> list[dict[str, Any]]:
    """One row per target and number of samples."""
    reported = np.flatnonzero(table.index % 4 != 0)
    rows: list[dict[str, Any]] = []
    for target in TARGETS:
        ran = table.networks(target)
        networks = [ran[at] for at in reported]
        flow = all(knows_flow(segment) for network in networks for segment in network.segments)
        features, latency = matrix(networks, flow=flow), table.latency_ms[target.column][reported]
        for count in SAMPLES:
            runs = [evaluate(features, latency, count, seed) for seed in range(SEEDS)]
            row: dict[str, Any] = {"target": f"{target.origin.device} {target.origin.precision}", "samples": count}
            row |= {"tested_on": len(latency) - count, "floor": floor(features, latency), "data_flow": flow}
            for name in FIGURES:
                values = [run[name] for run in runs]
                row[name], row[f"{name}_std"] = float(np.mean(values)), float(np.std(values, ddof=1))
            rows.append(row)
            print(_line(row), flush=True)
    return rows


def speed(table: Table) -> dict[str, float]:
    """Candidates scored a second on one core, with features kept and from the first operation on."""
    target = TARGETS[0]
    all_networks = table.networks(target)
    some = all_networks[:300]
    latency = table.latency_ms[target.column][:300]
    predictor = fit_predictor(some, latency, target.origin, rng=np.random.default_rng(0))
    networks = all_networks[:500]
    copies = {segment: Segment(segment.ops) for network in networks for segment in network.segments}
    fresh = [OpList([copies[segment] for segment in network.segments]) for network in networks]
    start = time.perf_counter()
    predictor.predict(fresh)
    cold = len(fresh) / (time.perf_counter() - start)
    many = list(all_networks) * 10
    predictor.predict(many)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        predictor.predict(many)
        seconds.append(time.perf_counter() - start)
    return {"kept": len(many) / min(seconds), "kept_median": len(many) / float(np.median(seconds)), "first": cold}


def _line(row: dict[str, Any]) -> str:
    low = f"{100 * row['floor']:.1f}" if row["floor"] is not None else ""
    cells = [row["target"], str(row["samples"]), f"{100 * row['mape']:.2f} ± {100 * row['mape_std']:.2f}", low]
    cells += [f"{100 * row[n]:.1f} ± {100 * row[f'{n}_std']:.1f}" for n in ("within_10", "coverage")]
    cells.insert(5, f"{row['spearman']:.3f} ± {row['spearman_std']:.3f}")
    return f"| {' | '.join(cells)} |"


def write(rows: list[dict[str, Any]], rates: dict[str, float], folder: Path) -> Path:
    """Write the figures as JSON and as a table; the path without suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.datetime.now(datetime.UTC).date().isoformat()}-predictors"
    path.with_suffix(".json").write_text(
        json.dumps({"accuracy": rows, "candidates_per_second": rates}, indent=2) + "\n"
    )
    head = "| target | samples | MAPE % | floor % | within 10 % | Spearman | 90 % interval covers % |"
    text = [
        "# Latency predictors on published measurements",
        "",
        "`python benchmarks/predictors/run.py`; NAS-Bench-201 networks, mean and standard deviation over "
        f"{SEEDS} draws, tested on all networks that were not drawn. Floor: mean difference of networks from others "
        "that have the same operations, connected the same way as far as the features tell.",
        "",
        head,
        "| --- " * (head.count("|") - 1) + "|",
        *map(_line, rows),
        "",
        f"Scoring on one core: {rates['kept']:,.0f} candidates a second with features kept (median of 5 runs "
        f"{rates['kept_median']:,.0f}), {rates['first']:,.0f} when every operation is seen for the first time.",
    ]
    path.with_suffix(".md").write_text("\n".join(text) + "\n")
    return path


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published tables")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table = load_table(options.data)
    rows = accuracy(table)
    rates = speed(table)
    print(f"candidates a second: {rates}")
    print(f"written: {write(rows, rates, options.out)}.md")


if __name__ == "__main__":
    main()
