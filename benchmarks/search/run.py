"""Searching with few evaluations: `python benchmarks/search/run.py` writes benchmarks/results/<date>-search.json.

    python benchmarks/search/run.py --data DIR [--seeds 10] [--evaluations 500] [--samplers hypervolume tpe ...]

NAS-Bench-201 with published accuracies (CIFAR-10, test, 200 epochs) and published latencies of several devices. The
accuracy of an architecture costs an evaluation, latency is free. The figure is the hypervolume after 50, 100, 200 and
500 evaluations as a share of that of all 15,625 networks, measured from 30 % error and the 99th percentile of the
latency of the networks with less: mean and standard deviation over seeds. `hypervolume` is told this corner. Its
settings were tuned on Pixel 3, Titan RTX at batch 32 and Eyeriss with seeds from 100 on; it is reported on other
devices with seeds from 0 on.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

sys.path.insert(0, str(Path(__file__).parents[1]))
from hwnas.search_spaces.nasbench201 import CODES
from record import record

from hwnas.core.candidate import Candidate
from hwnas.core.pareto import hypervolume_2d
from hwnas.core.task import TaskShape
from hwnas.latency.features import features_matrix
from hwnas.plugins import load_plugin
from hwnas.search.sampler import HypervolumeSampler
from hwnas.trace import operations

SHARES = (50, 100, 200, 500)
WORST_ERROR = 0.3
GOALS = {50: 0.970, 100: 0.985, 200: 0.995, 500: 0.999}
DEVICES = ("gold_6226", "raspi4", "2080ti_1", "samsung_a50", "fpga")
EDGES = ("e01", "e02", "e12", "e03", "e13", "e23")
SAMPLERS = ("hypervolume", "tpe", "nsga2", "nsga3", "random")
FloatArray = NDArray[np.float64]


class Table:
    """All networks of the space: their features, errors and, of one device, latencies."""

    def __init__(self, data: Path) -> None:
        folder = data / "nasbench201"
        architectures = pq.read_table(folder / "archs.parquet").to_pydict()
        self.codes = np.array([architectures[edge] for edge in EDGES]).T
        self.number = {tuple(code): at for at, code in enumerate(self.codes.tolist())}
        accuracy = np.array(pq.read_table(folder / "accuracy.parquet").to_pydict()["c10_test_200ep"], dtype=float)
        self.error = 1 - (accuracy / 100 if accuracy.max() > 1 else accuracy)
        self.latencies = pq.read_table(folder / "latency_help.parquet").to_pydict()
        task = TaskShape((3, 32, 32), 10)
        space = load_plugin("space", "nasbench201").for_task(task)
        networks = []
        for code in self.codes:
            values = {edge: CODES[op] for edge, op in zip(EDGES, code, strict=True)}
            networks.append(operations(space, Candidate(space.architecture(values)), task))
        self.features = np.log1p(features_matrix(networks)[0])

    def of(self, device: str) -> tuple[FloatArray, tuple[float, float], float]:
        """Latencies in ms, the bad corner, and the hypervolume of all networks."""
        latency_ms = np.array(self.latencies[device], dtype=float)
        worst = float(np.percentile(latency_ms[self.error < WORST_ERROR], 99)), WORST_ERROR
        return latency_ms, worst, self.hypervolume(range(len(latency_ms)), latency_ms, worst)

    def hypervolume(self, seen: Any, latency_ms: FloatArray, worst: tuple[float, float]) -> float:
        costs = np.stack([latency_ms[list(seen)], self.error[list(seen)]], axis=1)
        return hypervolume_2d(costs[(costs <= np.array(worst)).all(axis=1)], np.array(worst))


def make(
    name: str, table: Table, latency_ms: FloatArray, worst: tuple[float, float], space: dict[str, Any], seed: int
) -> BaseSampler:
    def describe(several: Any) -> list[tuple[float, Any]]:
        found = [table.number[tuple(params[edge] for edge in EDGES)] for params in several]
        return [(float(latency_ms[at]), table.features[at]) for at in found]

    if name == "hypervolume":
        return HypervolumeSampler(describe, space=space, reference=(worst[0], 1 - worst[1]), seed=seed)
    if name == "tpe":
        return TPESampler(multivariate=True, seed=seed)
    return {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler, "random": RandomSampler}[name](seed=seed)


def search(name: str, table: Table, device: str, seed: int, evaluations: int) -> tuple[list[float], float]:
    """Shares of the true hypervolume, and the sampler's seconds for a trial."""
    latency_ms, worst, all_of_it = table.of(device)
    space = {edge: CategoricalDistribution(list(range(5))) for edge in EDGES}
    study = optuna.create_study(
        directions=["minimize", "maximize"], sampler=make(name, table, latency_ms, worst, space, seed)
    )
    seen: list[int] = []
    start = time.perf_counter()
    for _ in range(20 * evaluations):
        trial = study.ask(space)
        at = table.number[tuple(trial.params[edge] for edge in EDGES)]
        study.tell(trial, [latency_ms[at], 1 - table.error[at]])
        if at not in seen:  # asking again for what is known costs no evaluation
            seen.append(at)
        if len(seen) == evaluations:
            break
    spent_s = (time.perf_counter() - start) / len(seen)
    counts = [n for n in SHARES if n <= evaluations]
    return [table.hypervolume(seen[:n], latency_ms, worst) / all_of_it for n in counts], spent_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--evaluations", type=int, default=500)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=SAMPLERS)
    parser.add_argument("--devices", nargs="+", default=list(DEVICES))
    parser.add_argument("--name", default="search")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    table, rows = Table(args.data), []
    for device in args.devices:
        for name in args.samplers:
            seeds = range(args.first_seed, args.first_seed + args.seeds)
            found = [search(name, table, device, seed, args.evaluations) for seed in seeds]
            shares = np.array([share for share, _ in found])
            counts = [n for n in SHARES if n <= args.evaluations]
            row: dict[str, Any] = {"device": device, "sampler": name, "seeds": args.seeds}
            for at, n in enumerate(counts):
                row[str(n)] = [round(float(shares[:, at].mean()), 4), round(float(shares[:, at].std()), 4)]
            row["ms_a_trial"] = round(1000 * float(np.mean([spent_s for _, spent_s in found])), 1)
            rows.append(row)
            print(row, flush=True)
    record(args.name, "python benchmarks/search/run.py --data DIR", {"goal": GOALS, "rows": rows})


if __name__ == "__main__":
    main()
