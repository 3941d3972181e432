"""Samplers in whole searches: `python benchmarks/search/supernet.py RUN` writes results/<date>-search-supernet.json.

    python benchmarks/search/supernet.py RUN [--trials 100] [--seeds 5] [--samplers hypervolume tpe]

RUN is a finished search over a weight-shared space with one device. Its trained supernet is searched anew by each
sampler, with its predictors, and the first seed is that of the run. Told is the hypervolume of the front that the
search sees (accuracy of the supernet on the validation split, predicted latency) as a share of the best one that any of
the searches ended with, and the seconds of a trial.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from ground import Ground
from record import record

from hwnas.search.config import SAMPLERS

SHARES = (25, 50, 100, 200, 300)


def search(ground: Ground, sampler: str, seed: int, trials: int) -> tuple[list[float], float]:
    """Hypervolume after SHARES, and seconds a trial."""
    found: list[float] = []
    start = time.perf_counter()
    ground.search(sampler, seed, trials, on_trial=found.append)
    return [found[n - 1] for n in SHARES if n <= trials], (time.perf_counter() - start) / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samplers", nargs="+", default=["hypervolume", "tpe"], choices=SAMPLERS)
    args = parser.parse_args()
    ground = Ground(args.run)
    found = {}
    for sampler in args.samplers:
        found[sampler] = [search(ground, sampler, seed, args.trials) for seed in range(args.seeds)]
        print(sampler, found[sampler], flush=True)
    best = max(areas[-1] for each in found.values() for areas, _ in each)
    rows = []
    for sampler, each in found.items():
        shares = np.array([areas for areas, _ in each]) / best
        row: dict[str, Any] = {"sampler": sampler, "seeds": args.seeds}
        for at, n in enumerate(n for n in SHARES if n <= args.trials):
            row[str(n)] = [round(float(shares[:, at].mean()), 4), round(float(shares[:, at].std()), 4)]
        row["ms_a_trial"] = round(1000 * float(np.mean([spent_s for _, spent_s in each])))
        rows.append(row)
    what = {"device": ground.targets.devices[0], "space": ground.targets.first.space.name}
    record("search-supernet", "python benchmarks/search/supernet.py RUN", {**what, "rows": rows})


if __name__ == "__main__":
    main()
