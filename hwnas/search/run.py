"""A whole search: predictors, supernet, study, finishing, measuring, front."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.front import Front
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.threads import threads_for
from hwnas.search.budget import Budget, Scorer
from hwnas.search.config import SearchConfig
from hwnas.search.describe import Describer
from hwnas.search.effort import SEARCH_SHARE, Clock, Effort, plan_effort
from hwnas.search.evaluators import make_evaluators
from hwnas.search.events import Listener, Silent
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.per_device import write_each
from hwnas.search.result import SearchResult
from hwnas.search.rounds import Rounds
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import PREDICTORS, Setup
from hwnas.search.study import SearchStudy
from hwnas.search.targets import Predictors, Targets, find_targets
from hwnas.store import read_front

__all__ = ["SearchResult", "run_search"]


def run_search(
    config: SearchConfig,
    listener: Listener | None = None,
    *,
    space: SearchSpace | None = None,
    task: Task | None = None,
) -> SearchResult:
    """Search, finish and verify; everything is written to the run folder as soon as it is known.

    Args:
        config: what to search for.
        listener: is told of each step.
        space: used instead of `config.space`.
        task: used instead of `config.task`.
    Raises:
        HwnasError: whatever is wrong with the settings, the data or the device, in one line.
    """
    listener = listener or Silent()
    try:
        return _Run(config, listener, space, task).run()
    finally:
        listener.done()


@dataclass
class _Run:
    config: SearchConfig
    listener: Listener
    given_space: SearchSpace | None
    given_task: Task | None

    def run(self) -> SearchResult:
        folder = RunFolder.open(self.config, label=_label(self.config)) if self.config.resume else None
        if folder is not None:
            self.config = folder.config
        clock = Clock.starting_now(self.config.time_s)
        targets = find_targets(self.config, self.given_space, self.given_task)
        kept = None if folder is None else folder.path / PREDICTORS
        predictors = targets.find_predictors(kept, self.config.seed, self.listener)
        if not self.config.allow_out_of_domain:
            targets = targets.within_domain(predictors, seed=self.config.seed)
        budget = self._budget(targets, predictors)
        if folder is None:
            folder = RunFolder.open(self.config, label=_label(self.config))
        with folder.locked():
            self.config = folder.config
            targets.freeze(predictors, folder.path / PREDICTORS)
            ids = {name: {p: predictor.card.id for p, predictor in of.items()} for name, of in predictors.items()}
            folder.check_same({**targets.facts(), "predictors": write_each(ids)})
            if folder.is_finished and self._has_all_trials(folder, targets):
                self.listener.note(f"the run in {folder.path} is finished; nothing is left to do")
                return _finished(folder)
            for line in _opening(targets, predictors, folder.path):
                self.listener.note(line)
            front = self._search(folder, targets, budget, clock)
        self.listener.done()
        return SearchResult(folder.path, front)

    def _budget(self, targets: Targets, predictors: Predictors) -> Budget:
        config, joint = self.config, targets.joint
        scorers = {device: Scorer(joint, found) for device, found in predictors.items()}
        budget = Budget(scorers, config.max_latency_ms, config.max_size_mb, config.max_memory_mb, targets.knowing)
        budget.require_feasible(np.random.default_rng(self.config.seed))
        return budget

    def _study(self, folder: RunFolder, targets: Targets, budget: Budget | None = None) -> SearchStudy:
        return SearchStudy(
            targets.joint,
            devices=targets.devices,
            sampler=self.config.sampler,
            seed=self.config.seed,
            journal=folder.journal,
            url=self.config.storage,
            name="hwnas" if self.config.storage is None else f"hwnas-{folder.path.name}",
            describe=None if budget is None else Describer(budget).by_device(),
        )

    def _has_all_trials(self, folder: RunFolder, targets: Targets) -> bool:
        wanted = self.config.trials_wanted
        return wanted is None or self._study(folder, targets).n_worked >= wanted

    def _search(self, folder: RunFolder, targets: Targets, budget: Budget, clock: Clock) -> Front:
        first = targets.first
        effort = _kept_effort(folder, plan_effort(self.config, targets.joint, first.task, clock), clock)
        study = self._study(folder, targets, budget)  # opened first: a damaged study must not cost a training
        with threads_for(effort.batch_macs):
            evaluator, source = make_evaluators(folder, targets, effort, self.listener)
        reference = _reference(budget)
        tracker = FrontTracker(reference)
        share = clock.share(SEARCH_SHARE if first.space.weight_shared else 0.8)
        deadline = Clock.starting_now(share).end_s
        self.listener.phase("search", self.config.trials_wanted)
        loop = Loop(
            study, budget, evaluator, self.listener, tracker, self.config.seed, self.config.trials_wanted, deadline
        )
        with threads_for(effort.batch_macs):
            records = loop.run()
        rounds = Rounds(self.config, self.listener, targets, folder.path, source, loop, effort, clock, reference)
        return rounds.run(records)


def _finished(folder: RunFolder) -> SearchResult:
    result = SearchResult(folder.path, read_front(folder.path))
    if not (folder.path / "report.html").exists():  # killed between front and report
        result.report()
    return result


def _label(config: SearchConfig) -> str:
    parts = [*config.devices, config.space or "", config.task]
    return "-".join(part for part in parts if part).replace("/", "_")


def _opening(targets: Targets, predictors: Predictors, path: Path) -> list[str]:
    """What the user should know before the search begins."""
    setup, titles = targets.first, [setup.device.title for setup in targets.setups]
    lines = [
        f"{setup.task.name} on {' and '.join(titles)}: space {setup.space.name}, {setup.space.size:.3g} architectures"
    ]
    for of_device in targets.setups:
        lines += _doubts(of_device, predictors[of_device.device.name], len(titles) > 1)
    if any(of_device.in_domain_only for of_device in targets.setups) and setup.stages != setup.space.stages:
        lines.append(
            "pruning is left out: the device's data hold no pruned networks (--allow-out-of-domain searches it)"
        )
    return [*lines, f"run folder: {path}"]


def _doubts(setup: Setup, predictors: Mapping[str, LatencyPredictor], is_one_of_several: bool) -> list[str]:
    """How well the latency of a device is predicted."""
    on = f" on {setup.device.name}" if is_one_of_several else ""
    cards = [predictor.card for predictor in predictors.values()]
    errors = ", ".join(
        f"{card.precision} {card.mape * 100:.1f} %" if card.mape is not None else f"{card.precision} unknown"
        for card in cards
    )
    lines = [
        f"latency{on} is predicted, {'measured' if cards[0].measured else 'modelled'} source, held-out error {errors}",
    ]
    if not setup.in_domain_only:
        lines.append(
            f"warning: networks of {setup.space.name} are out of the domain of the predictor{on}; doubt its figures"
        )
    return lines


def _reference(budget: Budget) -> dict[str, tuple[float, float]]:
    """The bad corner of each device: a fifth slower than the largest network at its slowest precision, and guessing."""
    joint = budget.joint
    values = dict(joint.values(Candidate(joint.space.largest())))
    largest = [joint.candidate(values | {"precision": precision}) for precision in joint.precisions]
    found = [budget.predict(candidate) for candidate in largest]
    slowest_ms = {device: max(predictions[device].latency_ms for predictions in found) for device in budget.scorers}
    return {device: (1.2 * latency_ms, 1 - 1 / joint.task.n_outputs) for device, latency_ms in slowest_ms.items()}


def _kept_effort(folder: RunFolder, planned: Effort, clock: Clock) -> Effort:
    """Training goes on with the settings that it began with, also if the time that is left is another."""
    from dataclasses import replace

    path = folder.path / "supernet.json"
    if not path.exists() or planned.training.time_s is None:
        return planned
    began = json.loads(path.read_text())["settings"]
    return replace(planned, training=replace(planned.training, time_s=began["time_s"]))
