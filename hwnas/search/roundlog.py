"""What the rounds of a search have done: a resumed search goes on with the round that was interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hwnas.errors import RunFolderError, SchemaError
from hwnas.store import read_json, write_json

__all__ = ["ROUNDS", "DoneRound", "RoundLog", "rounds_are_over"]

ROUNDS = "rounds.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class DoneRound:
    """A round that has ended.

    Attributes:
        n_trials: evaluations that gave an accuracy, at its end.
        models: ids of the candidates that it finished, in their order.
        learned: device -> precisions whose predictors learned from it, once these are frozen; None: not yet.
    """

    n_trials: int
    models: tuple[str, ...]
    learned: Mapping[str, tuple[str, ...]] | None = None


@dataclass
class RoundLog:
    """The content of `rounds.json`.

    Attributes:
        path: the file.
        asked: settings that decide what a round does; a log of others, or of a search that has ended, is begun anew.
        rounds: in their order.
    """

    path: Path
    asked: Mapping[str, Any]
    rounds: list[DoneRound] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path, asked: Mapping[str, Any]) -> RoundLog:
        """The log of a run folder; one that is damaged is begun anew, too: it only saves time."""
        log = cls(folder / ROUNDS, dict(asked))
        if log.path.exists():
            try:
                raw = read_json(log.path, schema=SCHEMA)
                if raw["asked"] == log.asked and not raw["over"]:
                    log.rounds = [_round(entry) for entry in raw["rounds"]]
            except (RunFolderError, SchemaError, KeyError, TypeError, AttributeError):
                log.rounds = []
        return log

    def done(self, number: int) -> DoneRound | None:
        """Round `number` (from 1), if it has ended."""
        return self.rounds[number - 1] if number <= len(self.rounds) else None

    def end_round(self, number: int, n_trials: int, models: Iterable[str]) -> None:
        """Note that a round has ended; later ones are forgotten."""
        known, found = self.done(number), DoneRound(n_trials, tuple(models))
        if known is None or known.models != found.models:
            self.rounds[number - 1 :] = [found]
            self._write(over=False)

    def learn(self, number: int, precisions: Mapping[str, tuple[str, ...]]) -> None:
        """Note which predictors learned from a round, and are frozen."""
        done = self.rounds[number - 1]
        self.rounds[number - 1 :] = [DoneRound(done.n_trials, done.models, precisions)]
        self._write(over=False)

    def end(self) -> None:
        """Note that there is no further round."""
        self._write(over=True)

    def _write(self, *, over: bool) -> None:
        rounds = [asdict(done) for done in self.rounds]
        write_json(self.path, {"schema": SCHEMA, "over": over, "asked": self.asked, "rounds": rounds})


def _round(raw: Mapping[str, Any]) -> DoneRound:
    learned = raw["learned"]
    known = None if learned is None else {device: tuple(precisions) for device, precisions in learned.items()}
    return DoneRound(int(raw["n_trials"]), tuple(raw["models"]), known)


def rounds_are_over(folder: Path) -> bool:
    """Whether nothing says that a further round was to come."""
    try:
        return not (folder / ROUNDS).exists() or bool(read_json(folder / ROUNDS, schema=SCHEMA).get("over"))
    except (RunFolderError, SchemaError):
        return False
