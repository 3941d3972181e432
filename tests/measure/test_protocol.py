from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from hwnas.measure.protocol import Budget, judge, plan_rounds, schedule, statistics, warm_up
from hwnas.testing.clock import VirtualClock, VirtualModel

FAST, SLOW = 1.0, 1.6


def test_warm_up_waits_until_calls_are_even() -> None:
    model = VirtualModel(VirtualClock(), lambda call, _: 1.0 + 50.0 * 0.9**call)
    warm = warm_up(model.run, Budget(2.0))
    assert warm.steady
    assert warm.call_ms == pytest.approx(1.0, rel=0.1)
    assert model.n_calls == warm.calls >= 10
    assert model.clock.now_ms >= Budget(2.0).warm_up_ms


def test_warm_up_of_a_steady_model_takes_what_it_must() -> None:
    model = VirtualModel(VirtualClock(), lambda call, _: 2.0)
    warm_up(model.run, Budget(1.0))
    assert 150.0 <= model.clock.now_ms < 220.0


@pytest.mark.parametrize(("call_ms", "most_ms"), [(0.001, 50.0), (5.0, 1500.0), (900.0, 4000.0)])
def test_warm_up_gives_up_on_a_model_that_never_settles(call_ms: float, most_ms: float) -> None:
    rng = np.random.default_rng(0)
    model = VirtualModel(VirtualClock(), lambda call, _: call_ms * float(rng.uniform(1, 1.9)) ** (call // 2 % 2 + 1))
    warm_up(model.run, Budget(2.0))
    assert model.clock.now_ms <= most_ms


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("call_ms", [0.01, 0.1, 0.5, 2.0])
def test_rounds_fill_the_budget(call_ms: float, seconds: float) -> None:
    plan, budget = plan_rounds(call_ms, Budget(seconds)), Budget(seconds)
    assert 12 <= plan.rounds <= 60
    assert plan.calls >= 5
    assert plan.discard >= 2
    assert plan.rounds * plan.calls <= 4000
    assert plan.rounds * (plan.calls + plan.discard) * call_ms == pytest.approx(budget.rounds_ms, rel=0.2)


def test_a_slow_model_has_twelve_rounds_of_few_calls() -> None:
    plan = plan_rounds(100.0, Budget(1.0))
    assert (plan.rounds, plan.calls, plan.discard) == (12, 1, 2)


def test_schedule_is_even_random_and_repeatable() -> None:
    rounds = [12, 30, 0, 12]
    order = schedule(rounds, np.random.default_rng(3))
    assert Counter(order) == {0: 12, 1: 30, 3: 12}
    assert order == schedule(rounds, np.random.default_rng(3))
    assert order != schedule(rounds, np.random.default_rng(4))
    for index in (0, 1, 3):  # each half of the time has half of the rounds of each model, give or take one
        half = [i for i in order[: len(order) // 2] if i == index]
        assert abs(len(half) - rounds[index] / 2) <= 1.5


def test_statistics_of_known_samples() -> None:
    found = statistics([[float(v) for v in range(1, 102)], [float(v) for v in range(1, 102)]])
    assert (found.n, found.rounds, found.round_spread) == (202, 2, 0.0)
    assert found.p50_ms == 51.0
    assert found.p10_ms == pytest.approx(np.percentile(sorted([*range(1, 102)] * 2), 10))
    assert found.two_speeds


def timed(duration_ms: Callable[[int, float], float], rounds: int = 24, calls: int = 20) -> list[list[float]]:
    """Rounds of a virtual model with 2 % noise, 100 ms apart."""
    rng = np.random.default_rng(1)
    clock = VirtualClock()
    model = VirtualModel(clock, lambda call, now: duration_ms(call, now) * float(1 + 0.02 * rng.random()))
    found = []
    for _ in range(rounds):
        found.append(model.run(calls))
        clock.advance(100.0)
    return found


def bursts(share: float, every_ms: float) -> Callable[[int, float], float]:
    """Slow for `share` of every `every_ms`."""
    return lambda call, now: SLOW if now % every_ms < share * every_ms else FAST


STABLE = {
    "quiet": lambda call, now: FAST,
    "slow a third of the time": bursts(0.33, 700),
    "slow more than half of the time": bursts(0.6, 500),
    "every tenth call is slow": lambda call, now: SLOW if call % 10 == 9 else FAST,
    "one very slow call": lambda call, now: 500.0 if call == 100 else FAST,
}
UNSTABLE = {
    "throttles after the first half": (lambda call, now: FAST if now < 1400 else SLOW, "between the halves"),
    "gets slower all the time": (lambda call, now: FAST * (1 + now / 4000), "p10"),
    "is fast for one round in twelve": (lambda call, now: FAST if call // 20 % 12 == 5 else SLOW, "faster than p10"),
    "each round has a speed of its own": (lambda call, now: FAST * 1.07 ** (call // 20 * 7 % 24), "p10"),
}


@pytest.mark.parametrize("name", STABLE)
def test_bursts_do_not_make_p10_unstable_or_wrong(name: str) -> None:
    rounds = timed(STABLE[name])
    assert judge(rounds).stable, judge(rounds).reason
    assert statistics(rounds).p10_ms == pytest.approx(FAST, rel=0.05)


@pytest.mark.parametrize("name", UNSTABLE)
def test_what_p10_cannot_tell_is_unstable(name: str) -> None:
    duration_ms, reason = UNSTABLE[name]
    verdict = judge(timed(duration_ms))
    assert not verdict.stable
    assert reason in verdict.reason


def test_few_rounds_are_no_evidence() -> None:
    assert "too few" in judge([[1.0] * 50] * 11).reason
    assert judge([[1.0] * 50] * 12).stable
