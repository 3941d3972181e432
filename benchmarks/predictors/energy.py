"""Energy learned from few readings: writes benchmarks/results/<date>-energy.json.

    python benchmarks/predictors/energy.py --data DIR [--counts 30 100 300] [--seeds 5]

NAS-Bench-201 on a Raspberry Pi 5, one network of each class of equal ones: mJ of an inference by HW-NAS-Bench-360
(LiteRT, ONNX Runtime; CIFAR-100's input). A predictor of N drawn networks is asked for 500 others: mean error, share
within 10 %, share inside the 90 % interval, mean and standard deviation over seeds. Networks that compute nothing
(under 0.5 ms) are left out. DIR holds nasbench201/{archs,hwnb360_pi5}.parquet.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.ops import OpList
from hwnas.core.task import TaskShape
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.recorded import architecture_of
from hwnas.plugins import load_plugin
from hwnas.trace import operations

HELD_OUT, LEAST_MS = 500, 0.5
TASK = TaskShape((3, 32, 32), 100)


def networks_of(data: Path, rows: list[dict[str, Any]]) -> list[OpList]:
    """Operations of each row's network."""
    space = load_plugin("space", "nasbench201").for_task(TASK)
    known = {row["idx"]: row for row in pq.read_table(data / "nasbench201" / "archs.parquet").to_pylist()}
    found = (architecture_of(space, known[row["rep_arch_idx"]]) for row in rows)
    return [operations(space, Candidate(architecture, CompressionPlan()), TASK, multiple=1) for architecture in found]


def figures(networks: list[OpList], energy_mj: np.ndarray, count: int, seed: int) -> dict[str, float]:
    """Learn from the first `count` and predict the last ones."""
    origin = Origin(device="raspberry-pi-5", runtime="any", quantity="energy")
    predictor = fit_predictor(networks[:count], energy_mj[:count], origin, rng=np.random.default_rng(seed))
    found, truth = predictor.predict(networks[-HELD_OUT:]), energy_mj[-HELD_OUT:]
    error = np.abs(np.array([p.latency_ms for p in found]) / truth - 1)
    inside = [p.low_ms <= value <= p.high_ms for p, value in zip(found, truth, strict=True)]
    return {
        "mape": float(error.mean()),
        "within_10": float((error <= 0.1).mean()),
        "covered": float(np.mean(inside)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[30, 100, 300])
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    read = pq.read_table(args.data / "nasbench201" / "hwnb360_pi5.parquet").to_pylist()
    table = []
    for framework in ("litert", "onnx"):
        is_ours = [r for r in read if (r["framework"], r["task"]) == (framework, "cifar100")]
        rows = [r for r in is_ours if (r["lat_ms_median"] or 0) > LEAST_MS and (r["energy_mj"] or 0) > 0]
        most = max(args.counts) + HELD_OUT
        each: dict[int, list[dict[str, float]]] = {count: [] for count in args.counts}
        for seed in range(args.seeds):
            drawn = [rows[at] for at in np.random.default_rng(seed).permutation(len(rows))[:most]]
            networks, energy_mj = networks_of(args.data, drawn), np.array([row["energy_mj"] for row in drawn])
            for count in args.counts:
                each[count].append(figures(networks, energy_mj, count, seed))
        for count, found in each.items():
            names = found[0]
            row = {
                name: [round(float(f([one[name] for one in found])), 4) for f in (np.mean, np.std)] for name in names
            }
            table.append({"framework": framework, "networks": count, "seeds": args.seeds, **row})
            print(table[-1], flush=True)
    record("energy", "python benchmarks/predictors/energy.py --data DIR", {"held_out": HELD_OUT, "table": table})


if __name__ == "__main__":
    main()
