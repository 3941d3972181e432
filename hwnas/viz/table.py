"""The front as numbers: one row a model, with the words that say where each number comes from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hwnas.core.front import Artifact, Front, FrontModel, LatencyEntry
from hwnas.core.pareto import is_non_dominated, knee
from hwnas.errors import ConfigError, InfeasibleBudgetError

__all__ = ["FrontRow", "Limits", "Pick", "every_front", "front_rows", "neighbours", "pick"]

_UNITS = ("ms", "mJ", "MB")  # of what a model costs


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontRow:
    """One model on one device.

    Attributes:
        id: of the model.
        precision: what it computes in.
        accuracy: fraction 0-1, read on `n` samples of `split` from `accuracy_source`.
        latency: predicted and measured, in ms.
        energy_mj: of an inference on the device, measured; None is not known.
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
    energy_mj: float | None
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
        energy_mj=model.energy_mj[device],
        macs=model.macs,
        params=model.params,
        size_bytes=model.size_bytes,
        artifacts=dict(model.artifacts),
        dominated=device not in front_of,
        knee=is_knee,
        front_of=front_of,
        on_every_front=is_shared,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a model may cost and must reach; None: anything.

    Attributes:
        max_latency_ms: on the device; of the measured value if there is one, else the predicted one.
        max_energy_mj: of an inference on the device, measured; a model whose energy is not known is over it.
        max_size_mb: of the model's file, in 1e6 bytes; a model whose size is not known is over it.
        min_accuracy: fraction 0-1.
    Raises:
        ConfigError: a limit is not a number above 0, or the accuracy is above 1.
    """

    max_latency_ms: float | None = None
    max_energy_mj: float | None = None
    max_size_mb: float | None = None
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        for word, unit, value in zip(("latency", "energy", "size"), _UNITS, self._costs, strict=True):
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"the {word} limit must be a number of {unit} above 0, got {value:g}")
        if self.min_accuracy is not None and not 0 <= self.min_accuracy <= 1:
            raise ConfigError(
                f"the least accuracy must be a fraction from 0 to 1, such as 0.97, got {self.min_accuracy:g}"
            )

    def __bool__(self) -> bool:
        return any(limit is not None for limit in (*self._costs, self.min_accuracy))

    @property
    def _costs(self) -> tuple[float | None, float | None, float | None]:
        """In the order of `_UNITS`."""
        return self.max_latency_ms, self.max_energy_mj, self.max_size_mb

    def hold(self, row: FrontRow) -> bool:
        """Whether a model keeps all of them."""
        size_mb = math.inf if row.size_bytes is None else row.size_bytes / 1e6
        costs = row.latency_ms, math.inf if row.energy_mj is None else row.energy_mj, size_mb
        is_within = all(most is None or cost <= most for cost, most in zip(costs, self._costs, strict=True))
        return is_within and (self.min_accuracy is None or row.accuracy >= self.min_accuracy)

    @property
    def words(self) -> str:
        """Such as "within 2 ms and 1 MB with an accuracy of at least 97 %"."""
        costs = zip(self._costs, _UNITS, strict=True)
        upper = [f"{value:g} {unit}" for value, unit in costs if value is not None]
        parts = [f"within {' and '.join(upper)}"] if upper else []
        if self.min_accuracy is not None:
            parts.append(f"with an accuracy of at least {self.min_accuracy * 100:g} %")
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class Pick:
    """The model to take and one sentence that says why."""

    row: FrontRow
    device: str
    why: str


def pick(front: Front, *, device: str | None = None, limits: Limits | None = None) -> Pick:
    """Choose a model: the knee, if there are no limits; else the best that keeps them.

    The best is the most accurate one; the fastest, if a least accuracy is asked for and no latency. Ties: the faster.

    Raises:
        ConfigError: the front is empty, or was not searched for that device.
        InfeasibleBudgetError: no model keeps the limits; the message says how near the front comes.
    """
    device = front.device(device)
    rows, limits = front_rows(front, device), limits or Limits()
    if not rows:
        raise ConfigError("the front has no models; search again with more --trials or a higher --max-latency")
    if not limits:
        return _pick_without_limits(rows, device)
    within = [row for row in rows if limits.hold(row)]
    if not within:
        raise InfeasibleBudgetError(f"no model {limits.words} on {device}; {_nearest(rows, limits)}")
    if limits.min_accuracy is not None and limits.max_latency_ms is None:
        best, kind = min(within, key=lambda row: (row.latency_ms, -row.accuracy)), "fastest"
    else:
        best, kind = max(within, key=lambda row: (row.accuracy, -row.latency_ms)), "most accurate"
    why = (
        f"the {kind} of {len(within)} {limits.words} on {device}: "
        f"{best.latency_ms:.4g} ms {best.latency.source}, accuracy {best.accuracy * 100:.2f} %"
    )
    limit_ms = limits.max_latency_ms
    if limit_ms is not None and best.latency.measured is None and best.latency.high > limit_ms:
        why += f"; the limit lies inside its interval (up to {best.latency.high:.4g} ms), measure before you rely on it"
    return Pick(best, device, why)


def _nearest(rows: list[FrontRow], limits: Limits) -> str:
    """What each limit that is given can be at best, and what to do."""
    found = []
    if limits.max_latency_ms is not None:
        found.append(f"the fastest, {rows[0].id}, has {rows[0].latency_ms:.4g} ms {rows[0].latency.source}")
    energies = [(row.energy_mj, row.id) for row in rows if row.energy_mj is not None]
    if limits.max_energy_mj is not None:
        energy, name = min(energies, default=(0, ""))
        found.append(f"the thriftiest, {name}, has {energy:.4g} mJ measured" if energies else "no energy was measured")
    sizes = [(row.size_bytes, row.id) for row in rows if row.size_bytes is not None]
    if limits.max_size_mb is not None:
        size, name = min(sizes, default=(0, ""))
        found.append(f"the smallest, {name}, has {size / 1e6:.4g} MB" if sizes else "no size is known")
    if limits.min_accuracy is not None:
        best = max(rows, key=lambda row: row.accuracy)
        found.append(f"the most accurate, {best.id}, has {best.accuracy * 100:.2f} %")
    again = "search again"
    if limits.max_latency_ms is not None:
        again += f" with --max-latency {limits.max_latency_ms:g}"
    elif limits.max_energy_mj is not None:
        again += f" with --max-energy {limits.max_energy_mj:g}"
    elif limits.max_size_mb is not None:
        again += f" with --max-size {limits.max_size_mb:g}"
    return f"{', '.join(found)}; {again}, or loosen the limits"


def _pick_without_limits(rows: list[FrontRow], device: str) -> Pick:
    for row in rows:
        if row.knee:
            return Pick(row, device, _knee_reason([r for r in rows if not r.dominated], row, device))
    best = max(rows, key=lambda row: (row.accuracy, -row.latency_ms))
    n = sum(not row.dominated for row in rows)
    if n == 1:
        return Pick(best, device, f"the most accurate on {device}, and no other is faster")
    return Pick(best, device, f"the most accurate on {device}; a front of {n} has no knee")


def _knee_reason(front: list[FrontRow], row: FrontRow, device: str) -> str:
    """What the step to the knee gains, and what the step beyond it does."""
    first, last = front[0], front[-1]
    dearer, rest = row.latency_ms / first.latency_ms - 1, last.latency_ms / row.latency_ms - 1
    return (
        f"the knee of the front on {device}: {dearer * 100:.0f} % more latency than the fastest gains "
        f"{(row.accuracy - first.accuracy) * 100:.2f} points of accuracy; another {rest * 100:.0f} %, up to the most "
        f"accurate, {(last.accuracy - row.accuracy) * 100:.2f}"
    )


def neighbours(front: Front, chosen: Pick) -> list[str]:
    """The next faster and the next more accurate model of the front, and what taking them would change, in words."""
    row, rows = chosen.row, [r for r in front_rows(front, chosen.device) if not r.dominated and r.id != chosen.row.id]
    faster = [r for r in rows if r.latency_ms < row.latency_ms]
    better = [r for r in rows if r.accuracy > row.accuracy]
    found = [max(faster, key=lambda r: r.latency_ms)] if faster else []
    found += [min(better, key=lambda r: r.latency_ms)] if better else []
    return [_instead(other, row) for other in found]


def _instead(other: FrontRow, row: FrontRow) -> str:
    slower = (other.latency_ms / row.latency_ms - 1) * 100
    return (
        f"{other.id} with {other.latency_ms:.3g} ms {other.latency.source} ({slower:+.0f} %) and "
        f"{other.accuracy * 100:.2f} % ({(other.accuracy - row.accuracy) * 100:+.2f} points)"
    )
