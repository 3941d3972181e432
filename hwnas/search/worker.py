"""A worker: evaluates candidates of a search that another process began, until that search has enough."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation, Evaluator
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.threads import threads_for
from hwnas.errors import ConfigError
from hwnas.search.config import SearchConfig
from hwnas.search.describe import Describer
from hwnas.search.effort import Clock
from hwnas.search.evaluators import make_evaluators
from hwnas.search.events import Listener, Silent
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.narrowing import known_sensitivity, narrowed
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import PREDICTORS
from hwnas.search.storage import is_postgresql
from hwnas.search.study import SearchStudy
from hwnas.search.targets import Predictors, Targets, find_targets
from hwnas.search.together import Invitation, check_storage, facts_of, make_budget, open_study, reference_of
from hwnas.store import read_json

__all__ = ["run_worker"]

T = TypeVar("T")
LOOK_S = 2.0  # between two looks at what the searching process is doing


def run_worker(
    run: Path,
    listener: Listener | None = None,
    *,
    storage: str | None = None,
    data: Path | None = None,
    space: SearchSpace | None = None,
    task: Task | None = None,
) -> int:
    """Evaluate candidates of a search with a PostgreSQL storage until it has enough; how many were evaluated here.

    Args:
        run: its run folder, or a copy of it.
        listener: is told of each step.
        storage: URL of the database as this machine reaches it; None: as in the folder.
        data: the task's folder or file on this machine; None: as in the folder.
        space: used instead of the one that the folder names.
        task: likewise.
    Raises:
        HwnasError: the search is not shared, or this machine has another version, other data or another space.
    """
    listener = listener or Silent()
    folder = RunFolder.at(run)
    folder.config = _here(folder, storage, data)
    try:
        with closing(_Worker(folder, listener, space, task)) as worker:
            return worker.run()
    finally:
        listener.done()


class _Worker:
    def __init__(self, folder: RunFolder, listener: Listener, space: SearchSpace | None, task: Task | None) -> None:
        self.folder, self.listener, self.space, self.task = folder, listener, space, task
        self.study: SearchStudy | None = None

    def close(self) -> None:
        """Give back what was claimed: another process does it."""
        if self.study is not None:
            self.study.close()

    def run(self) -> int:
        config, path = self.folder.config, self.folder.path
        check_storage(config.storage)
        self._wait(lambda: self.folder.found.get("study"), f"waiting for the search in {path} to begin")
        _check_version(self.folder)
        targets, predictors = self._parts()
        self.folder.require_same(facts_of(targets, predictors))
        budget = make_budget(config, targets, predictors)
        study = self.study = open_study(self.folder, targets, self.listener, budget, joins=True)
        invitation = self._invitation(study, targets)
        if invitation is None:
            self.listener.note(f"the search in {path} has ended; nothing is left to do")
            return 0
        effort = invitation.effort
        with threads_for(effort.batch_macs):
            cheap, _ = make_evaluators(
                self.folder, targets, effort, self.listener, trained=True, bits=invitation.weight_bits
            )
            budget = narrowed(budget, known_sensitivity(path, budget.joint), seed=config.seed)
            study.describe_by(Describer(budget).by_device())
            evaluator, tracker = _Counting(cheap), FrontTracker(reference_of(budget))
            self.listener.phase("search", invitation.wanted)
            deadline_s = Clock.starting_now(invitation.left_s).end_s
            Loop(study, budget, evaluator, self.listener, tracker, config.seed, invitation.wanted, deadline_s).run()
        return evaluator.count

    def _parts(self) -> tuple[Targets, Predictors]:
        """The same parts as the searching process has, with the predictors that it froze."""
        config = self.folder.config
        targets = find_targets(replace(config, space=config.space or self.folder.found["space"]), self.space, self.task)
        predictors = targets.frozen(self.folder.path / PREDICTORS)
        if not config.allow_out_of_domain:
            targets = targets.within_domain(predictors, seed=config.seed)
        return targets, predictors

    def _invitation(self, study: SearchStudy, targets: Targets) -> Invitation | None:
        """How to evaluate; None if the search has ended."""

        def told() -> dict[str, object] | None:
            state = study.claims.retrying(lambda: study.state) or {}
            return state if state.get("has_ended") or "effort" in state else None

        state = self._wait(told, "waiting until the search evaluates candidates")
        if state.get("has_ended"):
            return None
        if targets.first.space.weight_shared:
            report = self.folder.path / "supernet.json"
            self._wait(
                lambda: report.exists() and read_json(report)["finished"],
                f"waiting for the trained supernet in {self.folder.path}; if the folder is a copy, copy it again",
            )
        return Invitation.from_json(state)

    def _wait(self, look: Callable[[], T | None], why: str) -> T:
        """Look until something is there."""
        said = False
        while not (found := look()):
            if not said:
                self.listener.note(why)
                said = True
            time.sleep(LOOK_S)
        return found


@dataclass
class _Counting:
    """Counts what is evaluated here: the study's records are everybody's."""

    evaluator: Evaluator
    count: int = 0

    def closer(self) -> Evaluator | None:
        """Closer evaluations are the searching process's."""
        return None

    def evaluate(self, candidate: Candidate) -> Evaluation:
        found = self.evaluator.evaluate(candidate)
        self.count += 1
        return found


def _here(folder: RunFolder, storage: str | None, data: Path | None) -> SearchConfig:
    """The settings of the search with what is another on this machine."""
    config = replace(folder.config, storage=storage or folder.config.storage, data=data or folder.config.data)
    if config.storage is None or not is_postgresql(config.storage):
        raise ConfigError(
            f"the search in {folder.path} is not shared: its study is in "
            f"{'a file of the run folder' if config.storage is None else config.storage}; "
            "begin one with `hwnas search --storage postgresql://USER@HOST/DATABASE`"
        )
    return config


def _check_version(folder: RunFolder) -> None:
    theirs, ours = folder.found["versions"]["hwnas"], version("hwnas")
    if theirs != ours:
        raise ConfigError(
            f"the search in {folder.path} runs with hwnas {theirs}, here is {ours}; install hwnas=={theirs} here"
        )
