"""The settings of a search; the command line, the API and config.json build the same object."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError, nearest
from hwnas.search.storage import without_password

__all__ = ["SAMPLERS", "SearchConfig", "names_of", "path_of"]

_CLUSTER = re.compile(r"local|auto|(ray://)?[^\s/:]+:[0-9]{1,5}")
SAMPLERS = ("hypervolume", "tpe", "nsga2", "nsga3", "gp", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """What to search for, and with how much effort.

    Attributes:
        devices: names or aliases of the target devices, each once.
        space: name of the search space; None takes the one that the first device's predictor covers best.
        task: name of the task.
        data: the task's data folder or file, where it needs one.
        n_trials: evaluations of candidates; None: 300, or as many as `time_s` allows.
        time_s: seconds for everything, calibration and finishing included; None: no limit.
        max_latency_ms: hard limit of the predicted latency on each device; checked before anything is trained.
        max_energy_mj: hard limit of the predicted energy of an inference on each device, of everything on the supply
            that its sensor reads; devices whose energy nobody read are refused.
        max_size_mb: hard limit of the weights' size at the candidate's precision, in 1e6 bytes.
        max_memory_mb: hard limit of the modelled peak memory, in 1e6 bytes: weights at the candidate's precision, and
            what the largest operation reads and writes at batch 1 (a lower bound of what a runtime holds).
        precisions: which precisions to search; each device must have them; None: all that they have in common.
        seed: of everything that is random.
        out: the run folder; None: a new one under `runs/`.
        storage: Optuna storage URL; None: a journal file in the run folder. With PostgreSQL the search is shared with
            workers.
        cluster: where a supernet is trained by several processes, and candidates are evaluated and models finished,
            several at a time: "local" (a Ray on this machine, for the time of the search), "auto" (the Ray that runs on
            this machine), "HOST:PORT" or "ray://HOST:PORT"; None: in this process. A resumed search may have another.
        resume: go on with the run in `out` (or with the last unfinished one of the same settings).
        n_front: models to finish and export.
        sampler: one of `SAMPLERS`.
        allow_out_of_domain: search networks that the predictor never saw the like of, too (their figures are doubtful).
    Raises:
        ConfigError: a value is out of its range.
    """

    devices: tuple[str, ...]
    space: str | None = None
    task: str = "digits"
    data: Path | None = None
    n_trials: int | None = None
    time_s: float | None = None
    max_latency_ms: float | None = None
    max_energy_mj: float | None = None
    max_size_mb: float | None = None
    max_memory_mb: float | None = None
    precisions: tuple[str, ...] | None = None
    seed: int = 0
    out: Path | None = None
    storage: str | None = None
    cluster: str | None = None
    resume: bool = False
    n_front: int = 8
    sampler: str = "hypervolume"
    allow_out_of_domain: bool = False

    def __post_init__(self) -> None:
        if not self.devices:
            raise ConfigError("a search needs a device; pass --device NAME, and see `hwnas devices`")
        if twice := sorted({name for name in self.devices if self.devices.count(name) > 1}):
            raise ConfigError(f"a search names each device once, got {', '.join(twice)} more than once; leave it out")
        if self.sampler not in SAMPLERS:
            guess = nearest(self.sampler, SAMPLERS)
            hint = f" Did you mean {guess!r}?" if guess else ""
            raise ConfigError(f"no sampler named {self.sampler!r};{hint} allowed: {', '.join(SAMPLERS)}")
        if self.cluster is not None and not _CLUSTER.fullmatch(self.cluster):
            raise ConfigError(f"cluster must be local, auto, HOST:PORT or ray://HOST:PORT, got {self.cluster!r}")
        for name, least in (("n_trials", 1), ("n_front", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}, got {value}")
        for name in ("time_s", "max_latency_ms", "max_energy_mj", "max_size_mb", "max_memory_mb"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be a number above 0, got {value}")

    @property
    def trials_wanted(self) -> int | None:
        """Evaluations asked for; None: as many as the time allows."""
        return self.n_trials if self.n_trials is not None or self.time_s is not None else 300

    def to_json(self) -> dict[str, Any]:
        """Plain values for `config.json`; a password stays out of it."""
        raw = asdict(self)
        raw["storage"] = None if self.storage is None else without_password(self.storage)
        for name in ("data", "out"):
            raw[name] = None if raw[name] is None else str(raw[name])
        for name in ("devices", "precisions"):
            raw[name] = None if raw[name] is None else list(raw[name])
        return raw

    @classmethod
    def from_mapping(cls, raw: Mapping[str, Any]) -> SearchConfig:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: a setting is unknown.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(raw.keys() - known):
            raise ConfigError(f"unknown settings {unknown}; known: {sorted(known)}")
        values = dict(raw)
        for name in ("data", "out"):
            values[name] = None if values.get(name) is None else Path(values[name])
        for name in ("devices", "precisions"):
            values[name] = None if values.get(name) is None else tuple(values[name])
        return cls(**values)


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several, as people pass them in Python."""
    return (given,) if isinstance(given, str) else tuple(given)


def path_of(given: str | Path | None) -> Path | None:
    """A path, or None."""
    return None if given is None else Path(given)
