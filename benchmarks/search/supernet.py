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
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.core.evaluation import Evaluator
from hwnas.elastic.threads import threads_for
from hwnas.search.config import SAMPLERS
from hwnas.search.describe import Describer
from hwnas.search.effort import Clock, plan_effort
from hwnas.search.evaluators import make_evaluators
from hwnas.search.events import Silent
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import PREDICTORS
from hwnas.search.study import SearchStudy
from hwnas.search.targets import Targets, find_targets
from hwnas.search.together import make_budget, reference_of

SHARES = (25, 50, 100, 200, 300)


class Ground:
    """What all searches have in common."""

    def __init__(self, run: Path) -> None:
        folder = RunFolder.at(run)
        config = folder.config
        targets: Targets = find_targets(replace(config, space=config.space or folder.found["space"]), None, None)
        self.predictors = targets.frozen(folder.path / PREDICTORS)
        self.targets = targets.within_domain(self.predictors, seed=config.seed)
        self.config, effort = config, plan_effort(config, self.targets.joint, self.targets.first.task, Clock(None))
        self.batch_macs = effort.batch_macs
        self.evaluator: Evaluator = make_evaluators(folder, self.targets, effort, Silent(), trained=True)[0]

    def search(self, sampler: str, seed: int, trials: int) -> tuple[list[float], float]:
        """Hypervolume after SHARES, and seconds a trial."""
        budget = make_budget(self.config, self.targets, self.predictors)
        tracker, found = FrontTracker(reference_of(budget)), []

        class Watch(Silent):
            def advance(self, n: int = 1, **info: float | int | str) -> None:
                found.append(tracker.hypervolume)

        with tempfile.TemporaryDirectory() as folder, threads_for(self.batch_macs):
            study = SearchStudy(
                self.targets.joint,
                devices=self.targets.devices,
                sampler=sampler,
                seed=seed,
                journal=Path(folder) / "study.journal",
                describe=Describer(budget).by_device(),
            )
            start = time.perf_counter()
            Loop(study, budget, self.evaluator, Watch(), tracker, seed, trials).run()
            spent_s = (time.perf_counter() - start) / trials
        return [found[n - 1] for n in SHARES if n <= trials], spent_s


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
        found[sampler] = [ground.search(sampler, seed, args.trials) for seed in range(args.seeds)]
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
