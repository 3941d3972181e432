"""The front as numbers: one row a model, with the words that say where each number comes from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry
from hwnas.core.pareto import is_non_dominated, knee
from hwnas.errors import ConfigError, InfeasibleBudgetError

__all__ = ["FrontRow", "Pick", "every_front", "front_rows", "pick"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """One model on one device.

    Attributes:
        id: of the model.
        precision: what it computes in.
        accuracy: fraction 0-1, read on `n` samples of `split` from `accuracy_source`.
        latency: predicted and measured, in ms.
        macs, params, size_bytes: cost that no device changes; size is None without a file.
        artifacts: format -> file.
        dominated: whether another model is as fast and more accurate, or as accurate and faster.
        knee: whether it is the model farthest from the line between the two ends of the front.
        front_of: devices on which no other model dominates it.
        on_every_front: whether these are all devices of the search, and more than one.
    """

    id: str
    precision: str
    accuracy: float
    split: str
    n: int
    accuracy_source: str
    latency: LatencyEntry
    macs: int
    params: int
    size_bytes: int | None
    artifacts: dict[str, Artifact]
    dominated: bool
    knee: bool
    front_of: tuple[str, ...]
    on_every_front: bool

    @property
    def latency_ms(self) -> float:
        """The measured value if there is one, else the predicted one."""
        return self.latency.best_ms

    @property
    def remarks(self) -> tuple[str, ...]:
        """Words that a reader of the row must see, in a fixed order; often none."""
        measured = self.latency.measured
        return tuple(
            word
            for word, holds in (
                ("knee", self.knee),
                ("dominated", self.dominated),
                ("out of domain", not self.latency.in_domain),
                ("unstable", measured is not None and measured.stable is False),
                (every_front(len(self.front_of)), self.on_every_front),
            )
            if holds
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, the shown latency and its source added."""
        raw = {key: value for key, value in asdict(self).items() if key != "latency"}
        return {**raw, "latency_ms": self.latency_ms, "latency_source": self.latency.source, **asdict(self.latency)}


def front_rows(front: Front, device: str | None = None) -> list[FrontRow]:
    """Rows of all models, fastest first on `device` (the first of the front, if None).

    Raises:
        ConfigError: the search was not for that device.
    """
    device = front.device(device)
    costs = front.costs(device)
    keep = np.flatnonzero(is_non_dominated(costs))
    bend = knee(costs[keep])
    chosen = None if bend is None else int(keep[bend])
    kept = {name: set(np.flatnonzero(is_non_dominated(front.costs(name))).tolist()) for name in front.devices}
    rows = []
    for i, model in enumerate(front.models):
        front_of = tuple(name for name in front.devices if i in kept[name])
        is_shared = len(front_of) == len(front.devices) > 1
        rows.append(_row(model, device, is_knee=i == chosen, front_of=front_of, is_shared=is_shared))
    return sorted(rows, key=lambda row: (row.latency_ms, row.id))


def every_front(n_devices: int) -> str:
    """Of a model that is on the front of each device, in words."""
    return "on both fronts" if n_devices == 2 else f"on all {n_devices} fronts"


def _row(model: FrontModel, device: str, *, is_knee: bool, front_of: tuple[str, ...], is_shared: bool) -> FrontRow:
    return FrontRow(
        id=model.id,
        precision=model.compression.precision,
        accuracy=model.accuracy,
        split=model.accuracy_detail.split,
        n=model.accuracy_detail.n,
        accuracy_source=model.accuracy_detail.source,
        latency=model.latency[device],
        macs=model.macs,
        params=model.params,
        size_bytes=model.size_bytes,
        artifacts=dict(model.artifacts),
        dominated=device not in front_of,
        knee=is_knee,
        front_of=front_of,
        on_every_front=is_shared,
    )


@dataclass(frozen=True, slots=True)
class Pick:
    """The model to take and one sentence that says why."""

    row: FrontRow
    device: str
    why: str


def pick(front: Front, *, device: str | None = None, max_latency_ms: float | None = None) -> Pick:
    """Choose a model: the most accurate one within the limit; without a limit the knee, else the most accurate.

    The latency compared is the measured one if there is one, else the predicted one. Of equally accurate models the
    faster is taken.

    Raises:
        ConfigError: the front is empty, was not searched for that device, or the limit is not above 0.
        InfeasibleBudgetError: no model is within the limit; the message names the fastest.
    """
    device = front.device(device)
    rows = front_rows(front, device)
    if max_latency_ms is not None and not 0 < max_latency_ms < math.inf:
        raise ConfigError(f"the latency limit must be a number of ms above 0, got {max_latency_ms:g}")
    if not rows:
        raise ConfigError("the front has no models; search again with more --trials or a higher --max-latency")
    if max_latency_ms is None:
        return _pick_without_limit(rows, device)
    within = [row for row in rows if row.latency_ms <= max_latency_ms]
    if not within:
        raise InfeasibleBudgetError(
            f"no model within {max_latency_ms:g} ms on {device}; the fastest, {rows[0].id}, has "
            f"{rows[0].latency_ms:.4g} ms {rows[0].latency.source}; search again with --max-latency {max_latency_ms:g}"
        )
    best = max(within, key=lambda row: (row.accuracy, -row.latency_ms))
    why = (
        f"the most accurate of {len(within)} within {max_latency_ms:g} ms on {device}: "
        f"{best.latency_ms:.4g} ms {best.latency.source}"
    )
    if best.latency.measured is None and best.latency.high > max_latency_ms:
        why += f"; the limit lies inside its interval (up to {best.latency.high:.4g} ms), measure before you rely on it"
    return Pick(best, device, why)


def _pick_without_limit(rows: list[FrontRow], device: str) -> Pick:
    for row in rows:
        if row.knee:
            return Pick(
                row,
                device,
                f"the knee of the front on {device}: faster models lose much accuracy, slower ones gain little",
            )
    best = max(rows, key=lambda row: (row.accuracy, -row.latency_ms))
    return Pick(best, device, f"the most accurate on {device}; a front of {len(rows)} has no knee")
