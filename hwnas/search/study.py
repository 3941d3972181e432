"""The Optuna study of a search: with its sampler the only module that imports optuna.

A proposal depends on the seed, on how many candidates were evaluated before it and on their results, and on nothing
else: a search that was killed and resumed proposes what the unbroken one would have proposed.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.predictor import Prediction
from hwnas.errors import ConfigError, RunFolderError
from hwnas.search.joint import JointSpace
from hwnas.search.per_device import read_each, write_each
from hwnas.search.sampler import Describe, HypervolumeSampler

__all__ = ["Evaluated", "Proposal", "SearchStudy"]

NAME = "hwnas"
_PROMISED = ("latency_ms", "low_ms", "high_ms", "in_domain", "predictor")  # of a prediction, what a trial keeps


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A finished trial.

    Attributes:
        number: of the Optuna trial.
        candidate: what was evaluated.
        latency_ms: predicted, for each device.
        in_domain: whether the predictor of each device knows networks like it.
        accuracy: fraction 0-1 on the validation split; None if the evaluation failed.
        failure: why it failed; None if it did not.
    """

    number: int
    candidate: Candidate
    latency_ms: Mapping[str, float]
    in_domain: Mapping[str, bool]
    accuracy: float | None
    failure: str | None = None


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
    finally:
        optuna.logging.set_verbosity(level)


def _open_journal(path: Path) -> BaseStorage:
    """Open the journal of a run folder that this process has locked.

    What a killed process left behind is cleared first: its lock, and a last line that it did not finish.
    """
    for stale in path.parent.glob(f"{path.name}.lock*"):
        stale.unlink(missing_ok=True)
    if path.exists():
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path)))


def _created_trials(journal: Path) -> int:
    """How many trials the journal begins: optuna reads one without its first lines as an empty study."""
    return len(re.findall(rb'"op_code":\s*4\b', journal.read_bytes())) if journal.exists() else 0


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
    Raises:
        RunFolderError: the journal is damaged.
        ConfigError: the storage cannot be reached.
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
    ) -> None:
        self.joint, self.devices, self.sampler, self.seed = joint, tuple(devices), sampler, seed
        self._distributions: dict[str, BaseDistribution] = {
            choice.label: CategoricalDistribution(choice.options) for choice in joint.choices
        }
        self._own: list[HypervolumeSampler] = []
        if describe is not None:
            self.describe_by(describe)
        try:
            with _quiet():
                storage = _open_journal(journal) if url is None else optuna.storages.get_storage(url)
                directions = [*[StudyDirection.MINIMIZE] * len(self.devices), StudyDirection.MAXIMIZE]
                self._study = optuna.create_study(
                    storage=storage, study_name=name, directions=directions, load_if_exists=True
                )
                trials = self._study.get_trials(deepcopy=False)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if url is None:
                raise RunFolderError(f"{journal} is damaged ({reason}); search again into a new --out") from error
            raise ConfigError(f"storage {url!r} cannot be used: {reason}; check the URL and that it runs") from error
        if url is None and _created_trials(journal) != len(trials):
            raise RunFolderError(f"{journal} is damaged (trials are missing); search again into a new --out")
        self.evaluated = [record for trial in trials if (record := self._record(trial)) is not None]
        self._pending = self._take_up([trial for trial in trials if trial.state == TrialState.RUNNING])

    def describe_by(self, describe: Mapping[str, Describe]) -> None:
        """What the sampler "hypervolume" is told of each device from now on; others are told nothing."""
        if self.sampler == "hypervolume":
            # A plain space builds a network to describe it.
            drawn, changed = (512, 128) if self.joint.space.weight_shared else (64, 16)
            self._own = [
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
            ]

    def _take_up(self, running: list[FrozenTrial]) -> list[FrozenTrial]:
        """What a killed process left running; a trial that was not even proposed to the end is closed."""
        whole = [trial for trial in running if set(trial.params) == set(self._distributions)]
        with _quiet():
            for trial in running:
                if trial not in whole:
                    self._study.tell(trial.number, state=TrialState.FAIL)
        return whole

    def _record(self, trial: FrozenTrial) -> Evaluated | None:
        raw = trial.user_attrs.get("hwnas")
        if not trial.state.is_finished() or raw is None:
            return None
        candidate = Candidate.from_json(raw)
        accuracy = trial.values[-1] if trial.state == TrialState.COMPLETE else None
        latency_ms, in_domain = (read_each(raw[name], self.devices) for name in ("latency_ms", "in_domain"))
        return Evaluated(trial.number, candidate, latency_ms, in_domain, accuracy, trial.user_attrs.get("failure"))

    @property
    def n_worked(self) -> int:
        """Evaluations that gave an accuracy."""
        return sum(record.accuracy is not None for record in self.evaluated)

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
            step = int(np.random.SeedSequence([self.seed, len(self.evaluated)]).generate_state(1)[0])
            # Devices take turns where a proposal is for one of them.
            own = self._own[len(self.evaluated) % len(self._own)] if self._own else None
            self._study.sampler = own or make_sampler(self.sampler, step)
            asked = self._study.ask(fixed_distributions=self._distributions)
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

    def tell(self, proposal: Proposal, predictions: Mapping[str, Prediction], result: Evaluation | str) -> Evaluated:
        """Store an evaluation, or the reason why it failed; it is on disk when this returns."""
        promised = {device: predictions[device] for device in self.devices}
        latency_ms = {device: p.latency_ms for device, p in promised.items()}
        in_domain = {device: p.in_domain for device, p in promised.items()}
        raw = {**proposal.candidate.to_json(), "id": proposal.candidate.id}
        for name in _PROMISED:
            raw[name] = write_each({device: getattr(p, name) for device, p in promised.items()})
        storage = self._study._storage
        with _quiet():
            storage.set_trial_user_attr(proposal.trial_id, "hwnas", raw)
            if isinstance(result, str):
                storage.set_trial_user_attr(proposal.trial_id, "failure", result)
                self._study.tell(proposal.number, state=TrialState.FAIL)
                record = Evaluated(proposal.number, proposal.candidate, latency_ms, in_domain, None, result)
            else:
                storage.set_trial_user_attr(proposal.trial_id, "accuracy", result.to_json())
                self._study.tell(proposal.number, [*latency_ms.values(), result.accuracy])
                record = Evaluated(proposal.number, proposal.candidate, latency_ms, in_domain, result.accuracy)
        self.evaluated.append(record)
        return record
