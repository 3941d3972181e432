"""Searching with few evaluations: `python benchmarks/search/run.py` writes benchmarks/results/<date>-search.json.

    python benchmarks/search/run.py --data DIR [--tables nasbench201 mnasnet] [--seeds 10] [--evaluations 500]
        [--samplers hypervolume tpe ...] [--devices ...]

Networks with published accuracies and published latencies (MnasNet: milliseconds an image at full throughput). The
accuracy of an architecture costs an evaluation, latency is free. The figure is the hypervolume after 50, 100, 200 and
500 evaluations as a share of that of all networks of the table, measured from 30 % error (MnasNet: 45 %) and the 99th
percentile of the latency of the networks with less: mean and standard deviation over seeds. `hypervolume` is told this
corner. Its settings were tuned on NAS-Bench-201 (Pixel 3, Titan RTX at batch 32 and Eyeriss) with seeds from 100 on; it
is reported on other devices with seeds from 0 on, and on MnasNet as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from record import record
from tables import TABLES, Table

from hwnas.search.sampler import HypervolumeSampler

SHARES = (50, 100, 200, 500)
GOALS = {50: 0.970, 100: 0.985, 200: 0.995, 500: 0.999}
SAMPLERS = ("hypervolume", "tpe", "nsga2", "nsga3", "random")
FloatArray = NDArray[np.float64]


def make(name: str, table: Table, cost_ms: FloatArray, worst: tuple[float, float], seed: int) -> BaseSampler:
    def describe(several: Sequence[Mapping[str, Any]]) -> list[tuple[float, Any] | None]:
        found = table.numbers(several)
        return [(float(cost_ms[at]), table.features[at]) if np.isfinite(cost_ms[at]) else None for at in found]

    if name == "hypervolume":
        return HypervolumeSampler(describe, space=table.space, reference=(worst[0], 1 - worst[1]), seed=seed)
    if name == "tpe":
        return TPESampler(multivariate=True, seed=seed)
    return {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler, "random": RandomSampler}[name](seed=seed)


def search(name: str, table: Table, device: str, seed: int, evaluations: int) -> tuple[list[float], float]:
    """Shares of the true hypervolume, and the sampler's seconds for a trial."""
    cost_ms, worst, all_of_it = table.problem(device)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=make(name, table, cost_ms, worst, seed))
    seen: list[int] = []
    start = time.perf_counter()
    for _ in range(20 * evaluations):
        trial = study.ask(table.space)
        at = table.number(trial.params)
        if not np.isfinite(cost_ms[at]):
            study.tell(trial, state=TrialState.FAIL)
            continue
        study.tell(trial, [cost_ms[at], 1 - table.error[at]])
        if at not in seen:  # asking again for what is known costs no evaluation
            seen.append(at)
        if len(seen) == evaluations:
            break
    spent_s = (time.perf_counter() - start) / len(seen)
    counts = [n for n in SHARES if n <= evaluations]
    return [table.hypervolume(seen[:n], cost_ms, worst) / all_of_it for n in counts], spent_s


def row_of(name: str, table: Table, device: str, seeds: Sequence[int], evaluations: int) -> dict[str, Any]:
    """Mean and standard deviation over seeds."""
    found = [search(name, table, device, seed, evaluations) for seed in seeds]
    shares = np.array([share for share, _ in found])
    row: dict[str, Any] = {"table": table.name, "device": device, "sampler": name, "seeds": len(seeds)}
    for at, n in enumerate(n for n in SHARES if n <= evaluations):
        row[str(n)] = [round(float(shares[:, at].mean()), 4), round(float(shares[:, at].std()), 4)]
    row["ms_a_trial"] = round(1000 * float(np.mean([spent_s for _, spent_s in found])), 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument("--devices", nargs="+", help="of the tables; default: those that are reported")
    parser.add_argument("--name", default="search")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    seeds, rows = range(args.first_seed, args.first_seed + args.seeds), []
    for table in (TABLES[name](args.data) for name in args.tables):
        for device in args.devices or table.devices:
            for name in args.samplers:
                rows.append(row_of(name, table, device, seeds, args.evaluations))
                print(rows[-1], flush=True)
    record(args.name, "python benchmarks/search/run.py --data DIR", {"goal": GOALS, "rows": rows})


if __name__ == "__main__":
    main()
