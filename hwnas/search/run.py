"""A whole search: predictors, supernet, study, finishing, measuring, front."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from hwnas.compress.sensitivity import Sensitivity
from hwnas.compress.space import NetworkSpace
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.front import Front
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.threads import threads_for
from hwnas.search.actors import Actors, Kit
from hwnas.search.budget import Budget
from hwnas.search.cluster import Cluster, connected
from hwnas.search.config import SearchConfig
from hwnas.search.describe import Describer
from hwnas.search.effort import Clock, Effort, plan_effort, search_share
from hwnas.search.evaluators import make_evaluators, weight_bits
from hwnas.search.events import Listener, Silent
from hwnas.search.live import Live
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.narrowing import narrowed, stage_sensitivity
from hwnas.search.result import SearchResult
from hwnas.search.rounds import Rounds
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import PREDICTORS, Setup
from hwnas.search.targets import Predictors, Targets, find_targets
from hwnas.search.together import Invitation, check_storage, facts_of, make_budget, open_study, reference_of
from hwnas.store import read_front

__all__ = ["SearchResult", "label_of", "run_search"]

SENSITIVITY_SHARE = 0.3  # of a search's time: what reading the stages' sensitivity may cost at most
LEAST_GAIN = 0.95  # of the latency, after the most was cut: a predictor that sees less than that is of no use


def run_search(
    config: SearchConfig,
    listener: Listener | None = None,
    *,
    space: SearchSpace | None = None,
    task: Task | None = None,
    since_s: float | None = None,
) -> SearchResult:
    """Search, finish and verify; everything is written to the run folder as soon as it is known.

    Args:
        config: what to search for.
        listener: is told of each step.
        space: used instead of `config.space`.
        task: used instead of `config.task`.
        since_s: when the time of `config.time_s` began, on the monotonic clock; None: now.
    Raises:
        HwnasError: whatever is wrong with the settings, the data or the device, in one line.
    """
    live = Live(listener or Silent())
    try:
        return _Run(config, live, space, task, since_s).run()
    finally:
        live.done()


@dataclass
class _Run:
    config: SearchConfig
    listener: Live
    given_space: SearchSpace | None
    given_task: Task | None
    since_s: float | None = None

    def run(self) -> SearchResult:
        folder = RunFolder.open(self.config, label=label_of(self.config)) if self.config.resume else None
        if folder is not None:
            self.config = folder.config
        check_storage(self.config.storage)
        with connected(self.config.cluster) as cluster:
            return self._run(folder, cluster)

    def _run(self, folder: RunFolder | None, cluster: Cluster | None) -> SearchResult:
        clock = Clock.starting(self.config.time_s, self.since_s)
        targets = find_targets(self.config, self.given_space, self.given_task)
        kept = None if folder is None else folder.path / PREDICTORS
        predictors = targets.find_predictors(kept, self.config.seed, self.listener)
        if not self.config.allow_out_of_domain:
            targets = targets.within_domain(predictors, seed=self.config.seed)
        budget = make_budget(self.config, targets, predictors)
        if folder is None:
            folder = RunFolder.open(self.config, label=label_of(self.config))
        with folder.locked():
            self.config = folder.config
            targets.freeze(predictors, folder.path / PREDICTORS)
            if (sensitivity := _sensitivity(targets)) is not None:
                sensitivity.write(folder.path)
            folder.check_same(facts_of(targets, predictors))
            if folder.is_finished and self._has_all_trials(folder, targets):
                self.listener.note(f"the run in {folder.path} is finished; nothing is left to do")
                return _finished(folder)
            self.listener.begin(folder.path, targets.first.task.name, targets.first.space.name, self.config.seed)
            for line in _opening(targets, predictors, folder.path):
                self.listener.note(line)
            front = self._search(folder, targets, budget, clock, cluster)
        self.listener.done()
        return SearchResult(folder.path, front)

    def _has_all_trials(self, folder: RunFolder, targets: Targets) -> bool:
        wanted = self.config.trials_wanted
        if wanted is None:
            return True
        with closing(open_study(folder, targets, self.listener)) as study:
            return study.n_worked >= wanted

    def _search(
        self, folder: RunFolder, targets: Targets, budget: Budget, clock: Clock, cluster: Cluster | None
    ) -> Front:
        first = targets.first
        effort = _kept_effort(folder, plan_effort(self.config, targets.joint, first.task, clock), clock)
        # Opened first: a damaged study must not cost a training.
        with closing(open_study(folder, targets, self.listener, budget)) as study, ExitStack() as stack:
            study.publish(has_ended=False)
            with threads_for(effort.batch_macs):
                evaluator, source = make_evaluators(folder, targets, effort, self.listener, cluster=cluster)
                share_s = clock.share(search_share(first.space) * SENSITIVITY_SHARE)
                found = stage_sensitivity(folder.path, budget.joint, first.task, evaluator, self.listener, share_s)
            budget = narrowed(budget, found, seed=self.config.seed)
            study.describe_by(Describer(budget).by_device())
            reference = reference_of(budget)
            self.listener.follow(study, reference)
            share_s = clock.share(search_share(first.space))
            wanted = self.config.trials_wanted
            study.publish(**Invitation.of(effort, weight_bits(targets), wanted, share_s).to_json())
            actors = None
            if cluster is not None:
                kit = Kit.of(folder, targets, effort, weight_bits(targets))
                actors = stack.enter_context(closing(Actors(cluster, kit, folder.path, self.listener)))
            self.listener.phase("search", wanted)
            loop = Loop(
                *(study, budget, evaluator, self.listener, FrontTracker(reference), self.config.seed, wanted),
                Clock.starting_now(share_s).end_s,
                None if actors is None else actors.evaluating(),
            )
            with threads_for(effort.batch_macs):
                records = loop.run()
            study.publish(has_ended=True)
            parts = (self.config, self.listener, targets, folder.path, source, loop, effort, clock, reference)
            rounds = Rounds(*parts, actors, _original(targets))
            return rounds.run(records)


def _finished(folder: RunFolder) -> SearchResult:
    result = SearchResult(folder.path, read_front(folder.path))
    if not (folder.path / "report.html").exists():  # killed between front and report
        result.report()
    return result


def _original(targets: Targets) -> Candidate | None:
    """The user's own network, whole and at full precision (or the first of the precisions that are searched)."""
    space, precisions = targets.first.space, targets.joint.precisions
    if not isinstance(space, NetworkSpace):
        return None
    precision = "fp32" if "fp32" in precisions else precisions[0]
    return Candidate(space.largest(), CompressionPlan(precision))


def _sensitivity(targets: Targets) -> Sensitivity | None:
    space = targets.first.space
    return space.sensitivity if isinstance(space, NetworkSpace) else None


def label_of(config: SearchConfig) -> str:
    """How a new folder of a search is named."""
    parts = [*config.devices, config.space or "", config.task]
    return "-".join(part for part in parts if part).replace("/", "_")


def _opening(targets: Targets, predictors: Predictors, path: Path) -> list[str]:
    """What the user should know before the search begins."""
    setup, titles = targets.first, [setup.device.title for setup in targets.setups]
    what = f"space {setup.space.name}, {setup.space.size:.3g} architectures"
    if isinstance(setup.space, NetworkSpace):
        count = math.prod(len(choice.options) for choice in setup.joint.choices)
        what = f"{setup.space.name}, {len(setup.stages)} stages to prune, {count:.3g} combinations"
    lines = [f"{setup.task.name} on {' and '.join(titles)}: {what}"]
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
    if isinstance(setup.space, NetworkSpace):
        lines += _sees_pruning(setup, setup.space, predictors[setup.precisions[0]], on)
    if not setup.in_domain_only:
        lines.append(
            f"warning: networks of {setup.space.name} are out of the domain of the predictor{on}; doubt its figures"
        )
    return lines


def _sees_pruning(setup: Setup, space: NetworkSpace, predictor: LatencyPredictor, on: str) -> list[str]:
    """A warning where a predictor promises next to nothing for the most that can be cut."""
    most = {stage: space.prune_ratios(stage)[-1] for stage in space.stages}
    ends = [space.shortened({}, setup.precisions[0]), space.shortened(most, setup.precisions[0])]
    networks = [setup.joint.operations(candidate) for candidate in ends]
    whole, cut = (prediction.latency_ms for prediction in predictor.predict(networks))
    if cut <= LEAST_GAIN * whole:
        return []
    return [
        f"warning: the predictor{on} sees little gain in pruning ({whole:.3g} ms whole, {cut:.3g} ms with most cut): "
        "it knows no such networks; a device that can be measured shows more (`hwnas device add`)"
    ]


def _kept_effort(folder: RunFolder, planned: Effort, clock: Clock) -> Effort:
    """Training goes on with the settings that it began with, also if the time that is left is another."""
    from dataclasses import replace

    path = folder.path / "supernet.json"
    if not path.exists() or planned.training.time_s is None:
        return planned
    began = json.loads(path.read_text())["settings"]
    return replace(planned, training=replace(planned.training, time_s=began["time_s"]))
