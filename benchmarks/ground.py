"""A finished search over a weight-shared space with one device, to search its trained supernet anew."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hwnas.core.evaluation import Evaluator
from hwnas.elastic.threads import threads_for
from hwnas.search.budget import Budget
from hwnas.search.describe import Describer
from hwnas.search.effort import Clock, plan_effort
from hwnas.search.evaluated import Evaluated
from hwnas.search.evaluators import make_evaluators
from hwnas.search.events import Silent
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import PREDICTORS
from hwnas.search.study import SearchStudy
from hwnas.search.targets import Targets, find_targets
from hwnas.search.together import make_budget, reference_of


class Ground:
    """What all searches have in common."""

    def __init__(self, run: Path) -> None:
        folder = RunFolder.at(run)
        config = folder.config
        targets = find_targets(replace(config, space=config.space or folder.found["space"]), None, None)
        self.predictors = targets.frozen(folder.path / PREDICTORS)
        self.targets: Targets = targets.within_domain(self.predictors, seed=config.seed)
        self.config, self.effort = config, plan_effort(config, self.targets.joint, targets.first.task, Clock(None))
        made = make_evaluators(folder, self.targets, self.effort, Silent(), trained=True)
        self.evaluator: Evaluator = made[0]
        self.source = made[1]

    def budget(self, targets: Targets | None = None) -> Budget:
        """That of the run, in the run's space or in another."""
        return make_budget(self.config, targets or self.targets, self.predictors)

    def search(
        self,
        sampler: str,
        seed: int,
        trials: int,
        *,
        targets: Targets | None = None,
        evaluator: Evaluator | None = None,
        on_trial: Callable[[float], None] = lambda area: None,
    ) -> list[Evaluated]:
        """What a search of so many evaluations finds.

        Args:
            targets: another space, or fewer precisions or stages, of the run's device.
            evaluator: for another space.
            on_trial: is told the hypervolume after each evaluation.
        """
        where, budget = targets or self.targets, self.budget(targets)
        tracker = FrontTracker(reference_of(budget))

        class Watch(Silent):
            def advance(self, n: int = 1, **info: float | int | str) -> None:
                on_trial(tracker.hypervolume)

        with tempfile.TemporaryDirectory() as folder, threads_for(self.effort.batch_macs):
            study = SearchStudy(
                where.joint,
                devices=where.devices,
                sampler=sampler,
                seed=seed,
                journal=Path(folder) / "study.journal",
                describe=Describer(budget).by_device(),
            )
            return Loop(study, budget, evaluator or self.evaluator, Watch(), tracker, seed, trials).run()
