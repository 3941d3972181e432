"""What few measurements say of many networks: a Gaussian process over known devices and physical work.

A latency is a sum of four parts whose sizes are not known: what the known devices need, what simple devices need (so
many microseconds an operation, a MAC, a byte), sums of operations and of work, and a smooth remainder. The sum is taken
of milliseconds or of their logarithms. Which of the two, how large each part is, and how large the noise, is not chosen
but averaged over, by how likely each setting makes the measurements. Settings without known devices are always among
them, so that a device which resembles none of the known ones is learned without them.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5; Hoeting et al.,
Statistical Science 1999 (model averaging).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hwnas.errors import PredictorError
from hwnas.latency.features import grouped
from hwnas.latency.generic import simple_ms
from hwnas.latency.model import kernel

__all__ = ["Pool", "Posterior", "posterior"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# Standard deviations of the parts, as shares of latency (or in its logarithm); without known devices: 0.
_KNOWN, _SIMPLE, _LINEAR, _SMOOTH = (0.3, 1.0, 2.0), (0.03, 0.3, 1.0), (0.01, 0.03, 0.1, 0.3, 1.0), (0.01, 0.05, 0.2)
# Noise, and how likely it is before anything is measured: real devices are seldom predicted within 1 %.
_NOISE = {0.01: 0.01, 0.03: 0.1, 0.07: 0.3, 0.15: 0.4, 0.3: 0.19}
_LEVEL = {"ms": 0.3, "log": 3.0}  # of a constant
_LENGTH = 2.0  # of the smooth part, times the square root of the number of columns
_KEPT = 12  # settings that are averaged over: the likeliest
_MOST_FOR_SETTINGS = 150  # measurements that the likelihood of settings is computed from
_SHAPE = 2.0  # of the inverse gamma distribution that all variances share a factor of: heavier tails for few samples
_LEAST = 0.05  # no network is predicted below this share of the fastest measured one


@dataclass(frozen=True)
class Pool:
    """Networks to predict, those that are measured among them.

    Attributes:
        features: `m x len(COLUMNS)`.
        known_ms: what each known device needs for each network, `m x k`, > 0; k = 0: none is known.
    Raises:
        PredictorError: a known device's latency is not > 0 and finite.
    """

    features: FloatArray
    known_ms: FloatArray

    def __post_init__(self) -> None:
        if self.known_ms.shape[:1] != self.features.shape[:1] or self.known_ms.ndim != 2:
            raise PredictorError(f"known devices: {self.known_ms.shape} latencies for {len(self.features)} networks")
        if not (np.isfinite(self.known_ms) & (self.known_ms > 0)).all():
            raise PredictorError("a known device's latencies are not > 0 and finite; leave it out of --sources")

    @cached_property
    def columns(self) -> FloatArray:
        """Sums of operations and work, standardised, `m x d`."""
        return _standard(grouped(self.features))

    @cached_property
    def maps(self) -> dict[str, dict[str, FloatArray]]:
        """What each part is linear in, for milliseconds and for logarithms: "ms" or "log" -> part -> `m x ...`."""
        sums, simple = grouped(self.features), simple_ms(self.features)
        found = {
            "ms": {"simple": simple / simple.mean(axis=0), "linear": sums / np.maximum(sums.mean(axis=0), 1e-12)},
            "log": {"simple": _centred(np.log(simple)), "linear": self.columns},
        }
        for parts in found.values():
            for name, values in parts.items():
                parts[name] = values / math.sqrt(max(values.shape[1], 1))
        if self.known_ms.shape[1]:
            logs = _centred(np.log(self.known_ms))
            ratios = np.exp(logs)
            found["log"]["known"] = _around_mean(logs)
            found["ms"]["known"] = _around_mean(ratios / ratios.mean(axis=0))
        return found

    def kernels(self, scale: str, at: IntArray) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Part -> covariance of all networks with those at `at` (`m x n`), and variance of each network (`m`)."""
        found = {name: (v @ v[at].T, (v * v).sum(axis=1)) for name, v in self.maps[scale].items()}
        length = _LENGTH * math.sqrt(max(self.columns.shape[1], 1))
        found["smooth"] = kernel(self.columns, self.columns[at], length), np.ones(len(self.columns))
        return found

    def design(self, count: int, among: IntArray) -> list[int]:
        """Choose what to measure: those networks that, once measured, leave the least doubt of the others.

        Greedy on the sum of the variances that are left over `among` (I-optimality); no latency is needed.

        Args:
            count: how many.
            among: candidates, `c`; memory grows as its square.
        Returns:
            `min(count, c)` of them, the most telling first.
        Source: Atkinson, Donev and Tobias, Optimum Experimental Designs, 2007, chapter 10.
        """
        sizes = {"known": 0.3, "linear": 0.3, "smooth": 0.1, "simple": 0.1}
        parts = self.kernels("log", among)
        left = np.asarray(sum(sizes[name] ** 2 * values[among] for name, (values, _) in parts.items()) + 1.0)
        chosen: list[int] = []
        for _ in range(min(count, len(among))):
            gain = (left**2).sum(axis=0) / (np.diag(left) + 0.05**2)
            gain[chosen] = -1.0
            best = int(gain.argmax())
            chosen.append(best)
            left = left - np.outer(left[:, best], left[:, best]) / (left[best, best] + 0.05**2)
        return [int(among[at]) for at in chosen]


@dataclass(frozen=True)
class Posterior:
    """What is known after `n` measurements.

    Attributes:
        latency_ms: of all networks of the pool, `m`.
        spread: standard deviation of the logarithm of a new measurement of each, `m`.
        left_out_ms: of each measured network, predicted from the others, `n`.
        left_out_spread: its standard deviation, as `spread`, `n`.
        known_share: how much of the weight lies on settings that use known devices, 0-1.
    """

    latency_ms: FloatArray
    spread: FloatArray
    left_out_ms: FloatArray
    left_out_spread: FloatArray
    known_share: float


@dataclass(frozen=True)
class _Setting:
    """Sizes of the parts, the noise, and how likely the measurements are with them."""

    scale: str
    sizes: tuple[tuple[str, float], ...]
    noise: float
    log_likelihood: float


def posterior(pool: Pool, at: Sequence[int] | IntArray, latency_ms: FloatArray) -> Posterior:
    """Learn from measurements of some of the pool's networks.

    Args:
        at: rows that were measured, `n` >= 1, different.
        latency_ms: `n`, > 0.
    """
    index = np.asarray(at, dtype=np.int64)
    some = np.arange(len(index))
    if len(index) > _MOST_FOR_SETTINGS:
        some = np.linspace(0, len(index) - 1, _MOST_FOR_SETTINGS).astype(np.int64)
    rated: list[_Setting] = []
    with threadpool_limits(limits=1, user_api="blas"):  # small matrices: more threads wait for each other
        for scale in ("ms", "log"):
            rated += _rate(pool.kernels(scale, index[some]), index[some], latency_ms[some], scale)
    rated.sort(key=lambda setting: -setting.log_likelihood)
    rated = rated[:_KEPT]
    weights = np.exp(np.array([setting.log_likelihood for setting in rated]) - rated[0].log_likelihood)
    weights /= weights.sum()
    kernels = {scale: pool.kernels(scale, index) for scale in {setting.scale for setting in rated}}
    answers = [_answer(kernels[setting.scale], index, latency_ms, setting) for setting in rated]
    mean, spread = _mixture(weights, [(a[0], a[1]) for a in answers])
    left_mean, left_spread = _mixture(weights, [(a[2], a[3]) for a in answers])
    share = float(sum(w for w, setting in zip(weights, rated, strict=True) if dict(setting.sizes).get("known")))
    return Posterior(np.exp(mean), spread, np.exp(left_mean), left_spread, share)


def _rate(
    kernels: dict[str, tuple[FloatArray, FloatArray]], at: IntArray, latency_ms: FloatArray, scale: str
) -> list[_Setting]:
    """Every setting with its likelihood (a Student t density: the common factor of all variances is integrated out)."""
    target, noise_scale, jacobian, _ = _target(latency_ms, scale)
    n = len(target)
    inner = {name: values[at] for name, (values, _) in kernels.items()}
    known = (0.0, *_KNOWN) if "known" in inner else (0.0,)
    found = []
    for sizes in product(known, _SIMPLE, _LINEAR, _SMOOTH):
        named = tuple(zip(("known", "simple", "linear", "smooth"), sizes, strict=True))
        base = np.asarray(sum(size**2 * inner[name] for name, size in named if size) + _LEVEL[scale] ** 2)
        # One eigendecomposition would do for all noises only if they were equal; n is small, so this is quick enough.
        for noise, chance in _NOISE.items():
            factor = _cholesky(base + np.diag((noise * noise_scale) ** 2))
            if factor is None:
                continue
            half = np.linalg.solve(factor, target)
            value = -(_SHAPE + n / 2) * math.log(_SHAPE + 0.5 * float(half @ half))
            value += jacobian - float(np.log(np.diag(factor)).sum()) + math.log(chance)
            found.append(_Setting(scale, named, noise, value))
    return found


def _cholesky(matrix: FloatArray) -> FloatArray | None:
    try:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    except np.linalg.LinAlgError:
        return None


def _target(latency_ms: FloatArray, scale: str) -> tuple[FloatArray, FloatArray, float, float]:
    """What is modelled, the unit of its noise, the logarithm of d target / d latency, and the offset or factor."""
    if scale == "log":
        logs = np.log(latency_ms)
        return logs - logs.mean(), np.ones(len(logs)), -float(logs.sum()), float(logs.mean())
    middle = float(latency_ms.mean())
    shares = latency_ms / middle
    return shares, shares, -len(shares) * math.log(middle), middle


def _answer(
    kernels: dict[str, tuple[FloatArray, FloatArray]], at: IntArray, latency_ms: FloatArray, setting: _Setting
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Mean and variance of log latency: of all networks, and of each measured one given the others."""
    target, noise_scale, _, offset = _target(latency_ms, setting.scale)
    level = _LEVEL[setting.scale] ** 2
    used = [(kernels[name], size**2) for name, size in setting.sizes if size]
    cross = np.asarray(sum(square * values for (values, _), square in used) + level)
    prior = np.asarray(sum(square * variances for (_, variances), square in used) + level)
    inverse = np.linalg.inv(cross[at] + np.diag((setting.noise * noise_scale) ** 2))
    solved = inverse @ target
    factor = (_SHAPE + 0.5 * float(target @ solved)) / (_SHAPE + len(target) / 2)
    mean = cross @ solved
    variance = np.maximum(prior - ((cross @ inverse) * cross).sum(axis=1), 1e-12)
    left_variance = 1 / np.diag(inverse)
    left_mean = target - solved * left_variance
    floor = _LEAST * float(target.min()) if setting.scale == "ms" else 0.0
    whole = _as_log(mean, variance, setting, offset, floor)
    left = _as_log(left_mean, np.maximum(left_variance - (setting.noise * noise_scale) ** 2, 0), setting, offset, floor)
    return whole[0], factor * whole[1], left[0], factor * left[1]


def _as_log(
    mean: FloatArray, variance: FloatArray, setting: _Setting, offset: float, floor: float
) -> tuple[FloatArray, FloatArray]:
    """Mean of log latency, and variance of the log of a measurement."""
    if setting.scale == "log":
        return mean + offset, variance + setting.noise**2
    positive = np.maximum(mean, floor)
    return np.log(positive * offset), np.minimum(variance / positive**2, 1.0) + setting.noise**2


def _mixture(weights: FloatArray, parts: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    mean = np.asarray(sum(w * m for w, (m, _) in zip(weights, parts, strict=True)))
    second = np.asarray(sum(w * (v + m * m) for w, (m, v) in zip(weights, parts, strict=True)))
    return mean, np.sqrt(np.maximum(second - mean**2, 1e-12))


def _standard(columns: FloatArray) -> FloatArray:
    return np.asarray(_centred(columns) / np.maximum(columns.std(axis=0), 1e-12))


def _centred(columns: FloatArray) -> FloatArray:
    return np.asarray(columns - columns.mean(axis=0))


def _around_mean(columns: FloatArray) -> FloatArray:
    """The mean device, and how each differs from it: `m x k` -> `m x (1 + k)`."""
    mean = columns.mean(axis=1, keepdims=True)
    return np.hstack([mean, (columns - mean) / math.sqrt(max(columns.shape[1] - 1, 1))])
