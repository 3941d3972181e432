"""The Optuna study of a search: with its sampler and its database the only module that imports optuna.

A proposal depends on the seed, on how many candidates were evaluated before it and on their results, and on nothing
else: a search that was killed and resumed proposes what the unbroken one would have proposed.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hwnas.core.candidate import Candidate
from hwnas.core.error_text import first_line
from hwnas.core.evaluation import Evaluation
from hwnas.core.predictor import Prediction
from hwnas.errors import ConfigError, HwnasError, RunFolderError, StorageError
from hwnas.search.claims import CONNECTION, Alone, Claims
from hwnas.search.evaluated import Evaluated, evaluated_of
from hwnas.search.joint import JointSpace
from hwnas.search.journal import created_trials, open_journal
from hwnas.search.per_device import write_each
from hwnas.search.rdb import ProposalStorage
from hwnas.search.sampler import Describe, HypervolumeSampler
from hwnas.search.storage import for_optuna, hidden, is_postgresql, unusable
from hwnas.search.turns import TurnsSampler

__all__ = ["Proposal", "SearchStudy"]

NAME = "hwnas"
_PROMISED = ("latency_ms", "low_ms", "high_ms", "in_domain", "predictor")  # of a prediction, what a trial keeps
_MARK = "hwnas.search"  # what the study belongs to
_STATE = "hwnas.state"  # what the searching process tells its workers
PAUSE_S = 0.5  # between two looks at what others evaluate, when there is nothing else to do


@dataclass(frozen=True, slots=True)
class Proposal:
    """A running trial and the candidate that it stands for."""

    trial_id: int
    number: int
    candidate: Candidate


def make_sampler(name: str, seed: int) -> BaseSampler:
    """One of Optuna's samplers for several objectives by the name that `SearchConfig.sampler` allows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return TPESampler(multivariate=True, seed=seed, warn_independent_sampling=False)
        if name == "gp":
            return GPSampler(seed=seed)
        kinds: dict[str, Any] = {"nsga2": NSGAIISampler, "nsga3": NSGAIIISampler, "random": RandomSampler}
        return kinds[name](seed=seed)  # type: ignore[no-any-return]


@contextmanager
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(first_line(error.__cause__ or error)) from error
    finally:
        optuna.logging.set_verbosity(level)


class SearchStudy:
    """Ask-and-tell over the joint space; latency in ms on each device is minimised, accuracy maximised.

    Args:
        joint: what is searched.
        devices: whose latencies are the first objectives, in this order.
        sampler: one of `SAMPLERS`.
        describe: what the sampler "hypervolume" is told for each device; it cannot propose without.
        seed: of the proposals.
        journal: the journal file of the run folder.
        url: an Optuna storage URL that is used instead.
        mark: what the search is; a study in a storage that has another one is not opened.
        claims: keep the processes apart that share the study.
        joins: the study is another process's: it must be there, and this one stops when that one has ended.
    Attributes:
        evaluated: finished trials, in the order in which this process learned of them.
        seen: their candidates.
        n_worked: how many of them gave an accuracy.
    Raises:
        RunFolderError: the journal is damaged.
        ConfigError: the storage cannot be reached, or holds another study of this name.
    """

    def __init__(
        self,
        joint: JointSpace,
        *,
        devices: Sequence[str],
        sampler: str,
        seed: int,
        journal: Path,
        url: str | None = None,
        name: str = NAME,
        describe: Mapping[str, Describe] | None = None,
        mark: Mapping[str, str] | None = None,
        claims: Claims | None = None,
        joins: bool = False,
    ) -> None:
        self.joint, self.devices, self.sampler, self.seed = joint, tuple(devices), sampler, seed
        self.claims, self.joins = claims or Alone(), joins
        self._begun: dict[int, Candidate] = {}  # trial id -> what is evaluated here
        self._others: set[Candidate] = set()
        self.has_ended = False
        self._database: ProposalStorage | None = None
        self._distributions: dict[str, BaseDistribution] = {
            choice.label: CategoricalDistribution(choice.options) for choice in joint.choices
        }
        self._own: TurnsSampler | None = None
        if describe is not None:
            self.describe_by(describe)
        try:
            with self.claims.turn(of="tables"), _quiet():  # that optuna makes in a new database
                if url is not None and is_postgresql(url):
                    self._database = ProposalStorage(for_optuna(url), CONNECTION)
                storage = open_journal(journal) if url is None else optuna.storages.get_storage(self._database or url)
                self._study = self._opened(storage, name)
                trials = self._study.get_trials(deepcopy=False)
                if url is not None:
                    self._check_mark(dict(mark or {}), hidden(url))
        except HwnasError as error:
            self.close()
            if isinstance(error, StorageError) and url is not None:
                raise unusable(url, error) from error
            raise
        except Exception as error:
            self.close()
            if url is None:
                reason = first_line(error)
                raise RunFolderError(f"{journal} is damaged ({reason}); search again into a new --out") from error
            raise unusable(url, error) from error
        if url is None and created_trials(journal) != len(trials):
            raise RunFolderError(f"{journal} is damaged (trials are missing); search again into a new --out")
        self.evaluated: list[Evaluated] = []
        self.seen: set[Candidate] = set()
        self.n_worked = 0
        self._numbers: set[int] = set()
        self._take_in(trials)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        self._pending = [] if self.claims.is_shared else self._take_up(running)

    def _opened(self, storage: BaseStorage, name: str) -> optuna.Study:
        if not self.joins:
            directions = [*[StudyDirection.MINIMIZE] * len(self.devices), StudyDirection.MAXIMIZE]
            return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        try:
            return optuna.load_study(storage=storage, study_name=name)
        except KeyError as error:
            raise ConfigError(
                f"the storage holds no study {name!r}; begin the search with `hwnas search --storage URL`, and give "
                "its workers the same URL"
            ) from error

    def _check_mark(self, mark: Mapping[str, str], shown: str) -> None:
        found = self._study.user_attrs.get(_MARK)
        if found is None and not self.joins:
            self._study.set_user_attr(_MARK, mark)
        elif found != mark:
            other = next(key for key in {**mark, **(found or {})} if (found or {}).get(key) != mark.get(key))
            theirs, ours = (found or {}).get(other), mark.get(other)
            raise ConfigError(
                f"study {self._study.study_name!r} in {shown} is of another {other} ({theirs}, here {ours}); use the "
                "version of hwnas and the run folder that it was begun with, or begin a new run with another --out"
            )

    def describe_by(self, describe: Mapping[str, Describe]) -> None:
        """What the sampler "hypervolume" is told of each device from now on; others are told nothing."""
        if self.sampler == "hypervolume":
            # A plain space builds a network to describe it.
            drawn, changed = (512, 128) if self.joint.space.weight_shared else (64, 16)
            # Devices take turns, for a proposal is for one of them.
            self._own = TurnsSampler(
                HypervolumeSampler(
                    describe[device],
                    space=self._distributions,
                    known=number,
                    learned=len(self.devices),
                    seed=self.seed,
                    drawn=drawn,
                    changed=changed,
                )
                for number, device in enumerate(self.devices)
            )

    def _take_up(self, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """What a killed process left running; a trial that was not even proposed to the end is closed."""
        whole = [trial for trial in running if set(trial.params) == set(self._distributions)]
        with _quiet():
            for trial in running:
                if trial not in whole:
                    self._study.tell(trial.number, state=TrialState.FAIL)
        return whole

    def _take_in(self, trials: Iterable[FrozenTrial]) -> None:
        """Remember what is finished and not known yet."""
        for trial in trials:
            if trial.number not in self._numbers and (record := evaluated_of(trial, self.devices)) is not None:
                self._remember(record)

    def _remember(self, record: Evaluated) -> None:
        if record.number not in self._numbers:
            self._numbers.add(record.number)
            self.evaluated.append(record)
            self.seen.add(record.candidate)
            self.n_worked += record.accuracy is not None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A context in which no other process proposes, and in which it is known what the others did and do."""
        with self.claims.turn():
            if self.claims.is_shared:
                self._look_around()
            yield

    def _look_around(self) -> None:
        with _quiet():
            trials = self._study.get_trials(deepcopy=False)
            self.has_ended = self.joins and bool((self.state or {}).get("has_ended"))
        self._take_in(trials)
        running = [t for t in trials if t.state == TrialState.RUNNING and t._trial_id not in self._begun]
        # One that nobody has is of a dead process; further ones are left to others.
        orphan = next((trial for trial in running if self._is_orphan(trial._trial_id)), None)
        self._pending = [] if orphan is None else self._take_up([orphan])
        others = [t for t in running if t is not orphan and set(t.params) == set(self._distributions)]
        self._others = {self.joint.candidate(trial.params) for trial in others}

    def _is_orphan(self, trial_id: int) -> bool:
        """Whether a trial is of a dead process; it is this one's then."""
        if not self.claims.take_over(trial_id):
            return False
        with _quiet():
            # Looked at again: the process that had it may have told it and given it back since.
            if self._study._storage.get_trial(trial_id).state == TrialState.RUNNING:
                return True
        self.claims.release(trial_id)
        return False

    def claim(self, proposal: Proposal) -> None:
        """Say to other processes that this one evaluates the proposal."""
        if not self.claims.take(proposal.trial_id):
            raise StorageError("another process has taken the trial")

    def begin(self, proposal: Proposal) -> None:
        """Count the proposal as running until it is told: it is evaluated here, beside others."""
        self._begun[proposal.trial_id] = proposal.candidate

    def wait(self) -> None:
        """Give other processes time to finish what they evaluate."""
        time.sleep(PAUSE_S)

    @property
    def state(self) -> dict[str, Any] | None:
        """What the searching process told its workers; None: nothing yet."""
        with _quiet():
            return self._study.user_attrs.get(_STATE)

    def publish(self, **state: Any) -> None:
        """Tell workers how to evaluate and how far; nobody is told of a study that is not shared."""
        if self.claims.is_shared:
            self.claims.retrying(lambda: self._publish({"has_ended": False, **(self.state or {}), **state}))

    def _publish(self, state: dict[str, Any]) -> None:
        with _quiet():
            self._study.set_user_attr(_STATE, state)

    def close(self) -> None:
        """Give back what this process has claimed."""
        self.claims.close()

    @property
    def running(self) -> set[Candidate]:
        """Candidates that are being evaluated, by other processes and here."""
        return self._others | set(self._begun.values())

    @property
    def n_begun(self) -> int:
        """Evaluations that are finished, and those that run."""
        return len(self.evaluated) + len(self.running)

    @property
    def has_open_trials(self) -> bool:
        """Whether a killed process left a trial running or waiting."""
        return bool(self._pending or self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    def ask(self) -> Proposal:
        """The next proposal: one that a killed process left running, else a new one."""
        if self._pending:
            trial = self._pending.pop(0)
            return self._proposal(trial._trial_id, trial.number, trial.params)
        with _quiet():
            # A fresh generator for each proposal, so that a resumed search goes on as an unbroken one would.
            step = int(np.random.SeedSequence([self.seed, self.n_begun]).generate_state(1)[0])
            if self._own is not None:
                self._own.turn = self.n_begun
            self._study.sampler = self._own or make_sampler(self.sampler, step)
            asked = self._study.ask(fixed_distributions=self._distributions)
            if self._database is not None:
                self._database.write_proposal()
        return self._proposal(asked._trial_id, asked.number, asked.params)

    def _proposal(self, trial_id: int, number: int, params: Mapping[str, Any]) -> Proposal:
        return Proposal(trial_id, number, self.joint.candidate(params))

    def enqueue(self, candidate: Candidate) -> None:
        """Make the next `ask` propose this candidate."""
        with _quiet():
            self._study.enqueue_trial(self.joint.values(candidate))

    def reject(self, proposal: Proposal, reason: str) -> None:
        """Close a proposal that is not evaluated (over budget, or seen before)."""
        with _quiet():
            self._study._storage.set_trial_user_attr(proposal.trial_id, "rejected", reason)
            self._study.tell(proposal.number, state=TrialState.FAIL)
        self.claims.release(proposal.trial_id)

    def tell(self, proposal: Proposal, predictions: Mapping[str, Prediction], result: Evaluation | str) -> Evaluated:
        """Store an evaluation, or the reason why it failed; it is on disk when this returns.

        Of two processes that evaluated one trial (the first was taken for dead), the first one tells.
        """
        promised = {device: predictions[device] for device in self.devices}
        latency_ms = {device: p.latency_ms for device, p in promised.items()}
        in_domain = {device: p.in_domain for device, p in promised.items()}
        raw = {**proposal.candidate.to_json(), "id": proposal.candidate.id}
        for name in _PROMISED:
            raw[name] = write_each({device: getattr(p, name) for device, p in promised.items()})
        values = None if isinstance(result, str) else [*latency_ms.values(), result.accuracy]
        self.claims.retrying(lambda: self._tell(proposal, raw, result, values))
        self.claims.release(proposal.trial_id)
        self._begun.pop(proposal.trial_id, None)
        accuracy, failure = (None, result) if isinstance(result, str) else (result.accuracy, None)
        at = (proposal.number, proposal.candidate, latency_ms, in_domain, accuracy, failure)
        record = Evaluated(*at, finished_s=time.time())
        self._remember(record)
        return record

    def _tell(
        self, proposal: Proposal, raw: Mapping[str, Any], result: Evaluation | str, values: Sequence[float] | None
    ) -> None:
        storage, trial_id, shared = self._study._storage, proposal.trial_id, self.claims.is_shared
        try:
            with _quiet():
                storage.set_trial_user_attr(trial_id, "hwnas", raw)
                if isinstance(result, str):
                    storage.set_trial_user_attr(trial_id, "failure", result)
                    self._study.tell(proposal.number, state=TrialState.FAIL, skip_if_finished=shared)
                else:
                    storage.set_trial_user_attr(trial_id, "accuracy", result.to_json())
                    self._study.tell(proposal.number, values, skip_if_finished=shared)
        except optuna.exceptions.UpdateFinishedTrialError:
            # Told before: by another process, or by this one just before it lost the storage.
            if not shared:
                raise
