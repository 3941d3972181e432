"""A whole search: predictors, supernet, study, finishing, measuring, front."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hwnas.core.front import Front
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.threads import threads_for
from hwnas.search.budget import Budget
from hwnas.search.config import SearchConfig
from hwnas.search.effort import SEARCH_SHARE, Clock, Effort, plan_effort
from hwnas.search.evaluators import make_evaluators, weight_bits
from hwnas.search.events import Listener, Silent
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.result import SearchResult
from hwnas.search.rounds import Rounds
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import PREDICTORS, Setup, find_parts, find_predictor_set, freeze, within_domain
from hwnas.search.together import Invitation, check_storage, facts_of, make_budget, open_study, reference_of
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
        check_storage(self.config.storage)
        clock = Clock.starting_now(self.config.time_s)
        setup = find_parts(self.config, self.given_space, self.given_task)
        kept = None if folder is None else folder.path / PREDICTORS
        predictors = find_predictor_set(setup, kept, self.config.seed, self.listener)
        if not self.config.allow_out_of_domain:
            setup = within_domain(setup, predictors, seed=self.config.seed)
        budget = make_budget(self.config, setup, predictors)
        if folder is None:
            folder = RunFolder.open(self.config, label=_label(self.config))
        with folder.locked():
            self.config = folder.config
            freeze(predictors, folder.path / PREDICTORS)
            folder.check_same(facts_of(setup, predictors))
            if folder.is_finished and self._has_all_trials(folder, setup):
                self.listener.note(f"the run in {folder.path} is finished; nothing is left to do")
                return SearchResult(folder.path, read_front(folder.path))
            for line in _opening(setup, predictors, folder.path):
                self.listener.note(line)
            front = self._search(folder, setup, budget, clock)
        self.listener.done()
        return SearchResult(folder.path, front)

    def _has_all_trials(self, folder: RunFolder, setup: Setup) -> bool:
        wanted = self.config.trials_wanted
        if wanted is None:
            return True
        with closing(open_study(folder, setup, self.listener)) as study:
            return study.n_worked >= wanted

    def _search(self, folder: RunFolder, setup: Setup, budget: Budget, clock: Clock) -> Front:
        effort = _kept_effort(folder, plan_effort(self.config, setup.joint, setup.task, clock), clock)
        # Opened first: a damaged study must not cost a training.
        with closing(open_study(folder, setup, self.listener, budget)) as study:
            study.publish(has_ended=False)
            with threads_for(effort.batch_macs):
                evaluator, source = make_evaluators(folder, setup, effort, self.listener)
            reference = reference_of(budget)
            share_s = clock.share(SEARCH_SHARE if setup.space.weight_shared else 0.8)
            wanted = self.config.trials_wanted
            study.publish(**Invitation.of(effort, weight_bits(setup), wanted, share_s).to_json())
            self.listener.phase("search", wanted)
            loop = Loop(
                *(study, budget, evaluator, self.listener, FrontTracker(reference), self.config.seed, wanted),
                Clock.starting_now(share_s).end_s,
            )
            with threads_for(effort.batch_macs):
                records = loop.run()
            study.publish(has_ended=True)
            rounds = Rounds(self.config, self.listener, setup, folder.path, source, loop, effort, clock, reference)
            return rounds.run(records)


def _label(config: SearchConfig) -> str:
    parts = [config.devices[0], config.space or "", config.task]
    return "-".join(part for part in parts if part).replace("/", "_")


def _opening(setup: Setup, predictors: dict[str, LatencyPredictor], path: Path) -> list[str]:
    """What the user should know before the search begins."""
    cards = [predictor.card for predictor in predictors.values()]
    errors = ", ".join(
        f"{card.precision} {card.mape * 100:.1f} %" if card.mape is not None else f"{card.precision} unknown"
        for card in cards
    )
    lines = [
        f"{setup.task.name} on {setup.device.title}: space {setup.space.name}, {setup.space.size:.3g} architectures",
        f"latency is predicted, {'measured' if cards[0].measured else 'modelled'} source, held-out error {errors}",
    ]
    if not setup.in_domain_only:
        lines.append(
            f"warning: networks of {setup.space.name} are out of the domain of the predictor; doubt its figures"
        )
    elif setup.stages != setup.space.stages:
        lines.append(
            "pruning is left out: the device's data hold no pruned networks (--allow-out-of-domain searches it)"
        )
    return [*lines, f"run folder: {path}"]


def _kept_effort(folder: RunFolder, planned: Effort, clock: Clock) -> Effort:
    """Training goes on with the settings that it began with, also if the time that is left is another."""
    from dataclasses import replace

    path = folder.path / "supernet.json"
    if not path.exists() or planned.training.time_s is None:
        return planned
    began = json.loads(path.read_text())["settings"]
    return replace(planned, training=replace(planned.training, time_s=began["time_s"]))
