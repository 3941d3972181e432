"""A finished trial as the rest of the search sees it, and the file of them that reports read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.core.candidate import Candidate
from hwnas.search.per_device import read_each, write_each
from hwnas.store import write_atomic

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Evaluated", "evaluated_of", "failures_of", "trial_rows", "write_trials"]


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
        finished_s: when, in seconds since 1970; None is not known.
    """

    number: int
    candidate: Candidate
    latency_ms: Mapping[str, float]
    in_domain: Mapping[str, bool]
    accuracy: float | None
    failure: str | None = None
    finished_s: float | None = field(default=None, compare=False)


def evaluated_of(trial: FrozenTrial, devices: Sequence[str]) -> Evaluated | None:
    """What a trial says of its candidate; None if it is not finished, or was rejected."""
    raw, ended = trial.user_attrs.get("hwnas"), trial.datetime_complete
    if not trial.state.is_finished() or raw is None:
        return None
    latency_ms, in_domain = (read_each(raw[name], devices) for name in ("latency_ms", "in_domain"))
    return Evaluated(
        trial.number,
        Candidate.from_json(raw),
        latency_ms,
        in_domain,
        trial.values[-1] if trial.state.name == "COMPLETE" else None,
        trial.user_attrs.get("failure"),
        None if ended is None else ended.timestamp(),
    )


def trial_rows(records: Iterable[Evaluated]) -> list[dict[str, Any]]:
    """What a report draws behind the front: a line of `trials.jsonl` for each candidate that could be evaluated."""
    return [
        {
            "id": record.candidate.id,
            "latency_ms": write_each(record.latency_ms),
            "accuracy": record.accuracy,
            "in_domain": write_each(record.in_domain),
            "finished_s": record.finished_s,
        }
        for record in records
        if record.accuracy is not None
    ]


def failures_of(records: Sequence[Evaluated], most: int = 8) -> list[str]:
    """Why the last candidates that could not be evaluated were not, the latest last."""
    return [f"{r.candidate.id}: {r.failure or 'not known'}" for r in records if r.accuracy is None][-most:]


def write_trials(folder: Path, records: Iterable[Evaluated]) -> None:
    """Write `trials.jsonl`; the study itself stays in the journal."""
    lines = "".join(json.dumps(row) + "\n" for row in trial_rows(records))
    write_atomic(folder / "trials.jsonl", lines.encode())
