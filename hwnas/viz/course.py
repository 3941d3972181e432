"""The hypervolume of a search, from its first evaluation to its last."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Course", "Trial", "course", "searched"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A searched candidate on one device.

    Attributes:
        id: of the candidate.
        latency_ms: predicted.
        accuracy: fraction 0-1, of the supernet or of the candidate's own training, on the validation split.
        in_domain: whether the predictor knows networks like it.
        finished_s: when it was evaluated, in seconds since 1970; None is not known.
    """

    id: str
    latency_ms: float
    accuracy: float
    in_domain: bool
    finished_s: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """The steps of the hypervolume: where it rose, and the last evaluation.

    Attributes:
        evaluations: how many there were.
        hypervolume: after so many.
        seconds: since the first one was finished; None where no time is known.
    """

    evaluations: tuple[int, ...]
    hypervolume: tuple[float, ...]
    seconds: tuple[float | None, ...]


def searched(trials: Iterable[Mapping[str, Any]], device: str) -> list[Trial | None]:
    """What `trials.jsonl` says of each candidate on a device; None for one without finite numbers."""
    return [_trial(raw, device) for raw in trials]


def _trial(raw: Mapping[str, Any], device: str) -> Trial | None:
    latency, accuracy, inside = raw.get("latency_ms"), raw.get("accuracy"), raw.get("in_domain", True)
    latency = latency.get(device) if isinstance(latency, Mapping) else latency
    inside = inside.get(device, True) if isinstance(inside, Mapping) else inside
    latency_ms, fraction = _number(latency), _number(accuracy)
    if latency_ms is None or fraction is None or latency_ms <= 0:
        return None
    return Trial(str(raw.get("id", "?")), latency_ms, fraction, bool(inside), _number(raw.get("finished_s")))


def _number(value: object) -> float | None:
    """A finite number; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def course(trials: Iterable[Trial | None], reference: tuple[float, float]) -> Course:
    """The hypervolume after each evaluation that raised it, and after the last one.

    Args:
        trials: in the order in which they were evaluated.
        reference: (latency in ms, error): the bad corner; what lies beyond counts nothing.
    """
    front, area = _Staircase(reference), 0.0
    steps: list[tuple[int, float, float | None]] = []
    start_s, at_s, number = None, None, 0
    for number, trial in enumerate(trials, start=1):
        if trial is None:
            continue
        if trial.finished_s is not None:
            start_s = trial.finished_s if start_s is None else start_s
            at_s = trial.finished_s - start_s
        grown = area + front.gain(trial.latency_ms, 1 - trial.accuracy)
        if grown > area or not steps:
            area = grown
            steps.append((number, area, at_s))
    if steps and steps[-1][0] < number:
        steps.append((number, area, at_s))
    return Course(*(tuple(column) for column in zip(*steps, strict=True))) if steps else Course((), (), ())


class _Staircase:
    """A front of two objectives, both minimised, that grows point by point."""

    def __init__(self, corner: tuple[float, float]) -> None:
        self._corner = corner
        self._x: list[float] = []  # ascending
        self._y: list[float] = []  # descending

    def gain(self, x: float, y: float) -> float:
        """Take a point in; the area that it adds."""
        right, top = self._corner
        if x > right or y > top:
            return 0.0
        at = bisect_right(self._x, x)
        floor = self._y[at - 1] if at else top
        if y >= floor:
            return 0.0
        # What it dominates lies from `begin` to `end`: no faster, and no more accurate.
        begin, end = bisect_left(self._x, x), at
        while end < len(self._x) and self._y[end] >= y:
            end += 1
        edges = [*self._x[at:end], self._x[end] if end < len(self._x) else right]
        added, left = 0.0, x
        for edge, height in zip(edges, [floor, *self._y[at:end]], strict=True):
            added, left = added + (edge - left) * (height - y), edge
        self._x[begin:end], self._y[begin:end] = [x], [y]
        return added
