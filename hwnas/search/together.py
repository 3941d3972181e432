"""What the process that searches and its workers must have alike, and how the first tells the others."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.elastic.train import TrainSettings
from hwnas.errors import StorageError
from hwnas.search.budget import Budget, Scorer
from hwnas.search.claims import connect, make_claims
from hwnas.search.config import SearchConfig
from hwnas.search.describe import Describer
from hwnas.search.effort import Effort
from hwnas.search.events import Listener
from hwnas.search.per_device import write_each
from hwnas.search.runfolder import RunFolder
from hwnas.search.storage import is_postgresql, unusable
from hwnas.search.study import SearchStudy
from hwnas.search.targets import Predictors, Targets

__all__ = ["Invitation", "check_storage", "facts_of", "make_budget", "open_study", "reference_of"]

_SAME_SETTINGS = (
    *("seed", "sampler", "max_latency_ms", "max_energy_mj", "max_size_mb", "max_memory_mb"),
    "allow_out_of_domain",
)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the searching process tells its workers when candidates can be evaluated.

    Attributes:
        effort: of each evaluation.
        weight_bits: of int8 weights; it depends on the target's CPU, which workers may not have.
        wanted: evaluations of all processes together; None: no number.
        until_s: seconds since 1970; None: no limit.
    """

    effort: Effort
    weight_bits: int
    wanted: int | None
    until_s: float | None

    @classmethod
    def of(cls, effort: Effort, weight_bits: int, wanted: int | None, time_s: float | None) -> Invitation:
        """An invitation that ends `time_s` from now."""
        return cls(effort, weight_bits, wanted, None if time_s is None else time.time() + time_s)

    @property
    def left_s(self) -> float | None:
        """Seconds until it ends; None: no limit."""
        return None if self.until_s is None else max(0.0, self.until_s - time.time())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Invitation:
        """Read what `to_json` wrote; further keys are left out."""
        effort = Effort(**{**raw["effort"], "training": TrainSettings(**raw["effort"]["training"])})
        return cls(effort, raw["weight_bits"], raw["wanted"], raw["until_s"])


def check_storage(url: str | None) -> None:
    """Connect once, before anything is made or measured.

    Raises:
        ConfigError: the storage cannot be reached.
        MissingDependencyError: psycopg is not installed.
    """
    if url is None or not is_postgresql(url):
        return
    try:
        connect(url).close()
    except StorageError as error:
        raise unusable(url, error) from error


def facts_of(targets: Targets, predictors: Predictors) -> dict[str, Any]:
    """What a resumed search, and each worker, must find again."""
    ids = {device: {precision: p.card.id for precision, p in of.items()} for device, of in predictors.items()}
    return {**targets.facts(), "predictors": write_each(ids)}


def make_budget(config: SearchConfig, targets: Targets, predictors: Predictors) -> Budget:
    """The hard limits.

    Raises:
        InfeasibleBudgetError: no candidate meets them.
    """
    joint = targets.joint
    scorers = {device: Scorer(joint, found) for device, found in predictors.items()}
    budget = Budget(
        scorers,
        max_latency_ms=config.max_latency_ms,
        max_energy_mj=config.max_energy_mj,
        max_size_mb=config.max_size_mb,
        max_memory_mb=config.max_memory_mb,
        knowing=targets.knowing,
    )
    budget.require_feasible(np.random.default_rng(config.seed))
    return budget


def open_study(
    folder: RunFolder, targets: Targets, listener: Listener, budget: Budget | None = None, *, joins: bool = False
) -> SearchStudy:
    """The study of a run: its journal, or what its storage holds of it.

    Args:
        folder: of the run; its config holds the storage.
        targets: of the search.
        listener: is told when the storage is lost.
        budget: without it nothing is proposed.
        joins: it is another process's.
    Raises:
        ConfigError: the storage cannot be reached, or its study is of another search.
        RunFolderError: the journal is damaged.
    """
    config = folder.config
    name = "hwnas" if config.storage is None else folder.study_name()
    study = SearchStudy(
        targets.joint,
        devices=targets.devices,
        sampler=config.sampler,
        seed=config.seed,
        journal=folder.journal,
        url=config.storage,
        name=name,
        describe=None if budget is None else Describer(budget).by_device(),
        mark={} if config.storage is None else {"version": version("hwnas"), "search": _hash(folder)},
        claims=make_claims(config.storage, name, listener.note),
        joins=joins,
    )
    if config.storage is not None and not joins:
        folder.keep_study_name(name)
    return study


def reference_of(budget: Budget) -> dict[str, tuple[float, float]]:
    """The bad corner of each device: a fifth slower than the largest network at its slowest precision, and guessing."""
    joint = budget.joint
    values = dict(joint.values(Candidate(joint.space.largest())))
    largest = [joint.candidate(values | {"precision": precision}) for precision in joint.precisions]
    found = [budget.predict(candidate) for candidate in largest]
    slowest_ms = {device: max(predictions[device].latency_ms for predictions in found) for device in budget.scorers}
    return {device: (1.2 * latency_ms, 1 - 1 / joint.task.n_outputs) for device, latency_ms in slowest_ms.items()}


def _hash(folder: RunFolder) -> str:
    """Of what the search is; the folder's facts were compared with what is here."""
    facts = {key: value for key, value in folder.found.items() if key not in ("versions", "study")}
    settings = folder.config.to_json()
    payload = {"facts": facts, "settings": {name: settings[name] for name in _SAME_SETTINGS}}
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()[:16]
