"""What a proposal costs after 100, 10,000 and 100,000 trials: `python benchmarks/search/overhead.py`.

    python benchmarks/search/overhead.py [--trials 100 10000 100000] [--proposals 30]

The sampler "hypervolume" in an Optuna study in memory, over 20 choices; describing a candidate costs nothing here, so
that what is measured is proposing and telling. Written to benchmarks/results/<date>-overhead.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import create_trial

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.search.sampler import HypervolumeSampler

SPACE: dict[str, BaseDistribution] = {f"choice{n}": CategoricalDistribution((0, 1, 2, 3)) for n in range(20)}
WORTH = np.linspace(2.0, 0.1, len(SPACE))
GOAL_MS, GOAL_RATIO = 20.0, 2.0


def work(params: Mapping[str, Any]) -> tuple[float, float]:
    """(cost, accuracy): each level costs 1 and is worth less than the one before."""
    levels = np.array([params[name] for name in SPACE], dtype=float)
    return 1 + float(levels.sum()), 1 - 0.9 * float(np.exp(-(WORTH * np.sqrt(levels)).sum() / 12))


def describe(several: Sequence[Mapping[str, Any]]) -> list[tuple[float, Sequence[float]]]:
    """Cost, and the levels."""
    return [(work(params)[0], [params[name] for name in SPACE]) for params in several]


def finished(count: int, rng: np.random.Generator) -> list[optuna.trial.FrozenTrial]:
    """Trials that were drawn and evaluated."""
    found = []
    for _ in range(count):
        params = {name: int(rng.integers(4)) for name in SPACE}
        found.append(create_trial(params=params, distributions=SPACE, values=list(work(params))))
    return found


def overhead(count: int, proposals: int) -> dict[str, float]:
    """Milliseconds of proposing and telling after `count` trials; the first proposal, which reads them, apart."""
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=HypervolumeSampler(describe, space=SPACE))
    study.add_trials(finished(count, np.random.default_rng(0)))
    taken = []
    for _ in range(proposals + 1):
        start = time.perf_counter()
        trial = study.ask(SPACE)
        values = list(work(trial.params))
        study.tell(trial, values)
        taken.append(1000 * (time.perf_counter() - start))
    rest = taken[1:]
    return {
        "trials": count,
        "first_ms": round(taken[0], 1),
        "median_ms": round(statistics.median(rest), 2),
        "mean_ms": round(statistics.mean(rest), 2),
        "max_ms": round(max(rest), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--proposals", type=int, default=30)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = []
    for count in args.trials:
        rows.append(overhead(count, args.proposals))
        print(rows[-1], flush=True)
    figures = {"goal": {"median_ms": GOAL_MS, "times_that_at_100": GOAL_RATIO}, "rows": rows}
    record("overhead", "python benchmarks/search/overhead.py", figures)


if __name__ == "__main__":
    main()
