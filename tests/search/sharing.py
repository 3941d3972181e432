"""One process of a shared study, run by tests: `sharing.py URL NAME N_TRIALS PAUSE_S LOG [SAMPLER]`.

Its evaluator takes PAUSE_S and writes a line to LOG when it begins and when it ends.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from conftest import FakeEvaluator, FakePredictor, plain_space

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.task import TaskShape
from hwnas.search.budget import Budget, Scorer
from hwnas.search.claims import make_claims
from hwnas.search.describe import Describer
from hwnas.search.events import Silent
from hwnas.search.joint import JointSpace
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.study import SearchStudy


class SlowEvaluator(FakeEvaluator):
    pause_s, log = 0.0, Path()

    def write(self, what: str, candidate: Candidate) -> None:
        with self.log.open("a") as file:
            file.write(f"{os.getpid()} {what} {candidate.id}\n")

    def evaluate(self, candidate: Candidate) -> Evaluation:
        self.write("begin", candidate)
        time.sleep(self.pause_s)
        self.write("end", candidate)
        return super().evaluate(candidate)


class Noting(Silent):
    def note(self, text: str) -> None:
        print(text, flush=True)


def main(url: str, name: str, n_trials: str, pause_s: str, log: str, sampler: str = "random") -> None:
    shape = TaskShape((1, 8, 8), 10)
    joint = JointSpace(plain_space(range(4, 24), (1, 3, 5)).for_task(shape), shape, ("fp32", "int8"), 8, ())
    budget = Budget({"fake": Scorer(joint, {precision: FakePredictor(precision) for precision in joint.precisions})})
    evaluator = SlowEvaluator(joint)
    evaluator.pause_s, evaluator.log = float(pause_s), Path(log)
    claims = make_claims(url, name, Noting().note)
    study = SearchStudy(
        joint,
        devices=("fake",),
        sampler=sampler,
        seed=0,
        journal=Path("unused"),
        url=url,
        name=name,
        describe=Describer(budget).by_device(),
        claims=claims,
    )
    loop = Loop(study, budget, evaluator, Noting(), FrontTracker({"fake": (5.0, 0.9)}), 0, int(n_trials))
    print(f"{len(loop.run())} records", flush=True)
    study.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
