"""How latency is measured: when a model is warm, how its rounds are spread, and whether the samples can be believed.

A shared machine runs at more than one speed, in bursts that nothing inside it announces. Calls in one block catch one
speed or the other; short rounds that are spread over time and interleaved with those of other models catch both, and
the 10th percentile of all samples then is the fast one. The verdict asks how many rounds support that percentile.
Nothing here reads a clock: durations come from `run`, which makes N calls and returns N durations in ms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = [
    "MIN_ROUNDS",
    "STATISTIC",
    "Budget",
    "RoundPlan",
    "Statistics",
    "Verdict",
    "WarmUp",
    "judge",
    "plan_rounds",
    "schedule",
    "statistics",
    "warm_up",
]

STATISTIC, LOW_PERCENTILE = "p10", 10.0
MIN_ROUNDS, MAX_ROUNDS = 12, 60
ROUND_MS = 40.0
MIN_CALLS, DISCARDED_CALLS = 5, 2
MAX_SAMPLES = 4000  # kept per model; the calls beyond them run first in each round and are thrown away
TOLERANCE = 0.05

Run = Callable[[int], Sequence[float]]
Rounds = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Budget:
    """How long one model may be measured: a warm-up and rounds share `seconds`."""

    seconds: float

    @property
    def warm_up_ms(self) -> float:
        """Least time of the warm-up: 15 % of the budget, at most 300 ms."""
        return min(300.0, 150.0 * self.seconds)

    @property
    def rounds_ms(self) -> float:
        """Time of all rounds."""
        return 1000 * self.seconds - self.warm_up_ms


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What a warm-up took and found.

    Attributes:
        calls: number of calls thrown away.
        call_ms: duration of one call once warm (low percentile of the last block).
        steady: whether the last two blocks agreed; if not, the time ran out first.
    """

    calls: int
    call_ms: float
    steady: bool


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """How one model is timed: `rounds` rounds, each of `discard` calls thrown away and then `calls` that count."""

    rounds: int
    calls: int
    discard: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the samples of one model say, in ms.

    Attributes:
        p10_ms, p50_ms, p95_ms: percentiles of all samples.
        n: number of samples; `rounds`: number of rounds.
        round_spread: (largest - smallest) / smallest of the rounds' own 10th percentiles; 0 is perfectly even.
        two_speeds: the median is more than 15 % above the 10th percentile: the machine was slow part of the time.
    """

    p10_ms: float
    p50_ms: float
    p95_ms: float
    n: int
    rounds: int
    round_spread: float
    two_speeds: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the 10th percentile can be relied on, and why (not)."""

    stable: bool
    reason: str


def warm_up(run: Run, budget: Budget, *, min_calls: int = 10, max_blocks: int = 20) -> WarmUp:
    """Call until two blocks in a row are equally fast within 5 %, for at least 10 calls and `budget.warm_up_ms`.

    Ends after four times that time, or `max_blocks` blocks, even if the model is not steady: on a machine of two
    speeds a block can always be slow, and the rounds and the verdict deal with that. A slow model does not get its 10
    calls if they take more than a second.
    """
    most_ms = 4 * budget.warm_up_ms
    spent_ms, calls, before_ms, steady, size = 0.0, 0, math.inf, False, 2
    call_ms = math.inf
    for _ in range(max_blocks):
        block = list(run(size))
        spent_ms, calls = spent_ms + sum(block), calls + size
        call_ms = float(np.percentile(block, LOW_PERCENTILE))
        steady = abs(call_ms - before_ms) <= TOLERANCE * call_ms
        before_ms = call_ms
        if calls >= min_calls and spent_ms >= (budget.warm_up_ms if steady else most_ms):
            break
        if spent_ms >= max(1000.0, most_ms):
            break
        # Blocks of a fifth of the time, so that steady means over time and not over two calls; at most 500 calls.
        size = max(2, min(500, math.ceil(budget.warm_up_ms / 5 / call_ms)))
    return WarmUp(calls, call_ms, steady)


def plan_rounds(call_ms: float, budget: Budget) -> RoundPlan:
    """Rounds of about 40 ms, 12 to 60 of them, that take `budget.rounds_ms` together.

    A slow model still gets 12 rounds, with fewer calls in each (at least one that counts), and may exceed the budget.
    """
    round_ms = max(ROUND_MS, (MIN_CALLS + DISCARDED_CALLS) * call_ms)
    rounds = int(np.clip(budget.rounds_ms / round_ms, MIN_ROUNDS, MAX_ROUNDS))
    in_round = round(budget.rounds_ms / rounds / call_ms)
    # Five calls a round even if the budget holds fewer, as long as they take no more than a usual round.
    least = int(np.clip(ROUND_MS / call_ms, 1, MIN_CALLS))
    calls = int(np.clip(in_round - DISCARDED_CALLS, least, MAX_SAMPLES // rounds))
    return RoundPlan(rounds, calls, max(DISCARDED_CALLS, in_round - calls))


def schedule(rounds: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Order in which models are timed: index `i` occurs `rounds[i]` times, evenly spread and else at random."""
    when = [(float(k + rng.random()) / n, i) for i, n in enumerate(rounds) for k in range(n)]
    return [index for _, index in sorted(when)]


def _low(samples_ms: Sequence[float]) -> float:
    return float(np.percentile(np.asarray(samples_ms, dtype=float), LOW_PERCENTILE))


def _pooled(rounds: Rounds) -> list[float]:
    return [value for samples in rounds for value in samples]


def statistics(rounds: Rounds) -> Statistics:
    """Percentiles and spread of the raw samples, a sequence per round, each with at least one sample in ms."""
    pooled = np.array(_pooled(rounds))
    p10_ms, p50_ms, p95_ms = (float(v) for v in np.percentile(pooled, (LOW_PERCENTILE, 50, 95)))
    lows = [_low(samples) for samples in rounds]
    spread = (max(lows) - min(lows)) / min(lows)
    return Statistics(p10_ms, p50_ms, p95_ms, len(pooled), len(rounds), spread, p50_ms > 1.15 * p10_ms)


def judge(rounds: Rounds, *, tolerance: float = TOLERANCE) -> Verdict:
    """Say whether the 10th percentile of all samples is the speed that the model has when nothing disturbs it.

    Unstable, with a reason, if there are fewer than 12 rounds; if fewer than a quarter of the rounds (at least 3) have
    a 10th percentile of their own within `tolerance` of it; if more than 5 % of the rounds were clearly faster, so
    that the fast speed was seen but too rarely; or if the earlier and the later half of the rounds disagree (heat).
    """
    if len(rounds) < MIN_ROUNDS:
        return Verdict(False, f"{len(rounds)} rounds are too few to tell, {MIN_ROUNDS} are needed")
    pooled_ms = _low(_pooled(rounds))
    lows = np.array([_low(samples) for samples in rounds])
    n_faster = int((lows < (1 - tolerance) * pooled_ms).sum())
    if n_faster > 0.05 * len(rounds):
        return Verdict(False, f"{n_faster} of {len(rounds)} rounds were faster than p10 by more than {tolerance:.0%}")
    n_near = int((np.abs(lows - pooled_ms) <= tolerance * pooled_ms).sum())
    needed = max(3, math.ceil(len(rounds) / 4))
    if n_near < needed:
        return Verdict(False, f"p10 is supported by {n_near} of {len(rounds)} rounds, {needed} are needed")
    half = len(rounds) // 2
    early_ms, late_ms = _low(_pooled(rounds[:half])), _low(_pooled(rounds[half:]))
    if abs(late_ms - early_ms) > tolerance * min(early_ms, late_ms):
        return Verdict(False, f"p10 went from {early_ms:.4g} to {late_ms:.4g} ms between the halves of the rounds")
    return Verdict(True, f"p10 is supported by {n_near} of {len(rounds)} rounds, its halves agree")
