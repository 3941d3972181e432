from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hwnas.core.pareto import hypervolume_within
from hwnas.viz.course import Trial, course, searched

CORNER = (10.0, 0.9)


def trials_of(costs: Any) -> list[Trial]:
    return [Trial(str(i), float(x), 1 - float(y), True, 100.0 + i) for i, (x, y) in enumerate(costs)]


@pytest.mark.parametrize("seed", range(8))
def test_every_step_is_the_hypervolume_of_all_before_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs = np.column_stack([rng.uniform(0.5, 12, 60), rng.uniform(0, 1, 60)])
    if seed % 2:
        costs = costs.round(1)  # many equal values
    found = course(trials_of(costs), CORNER)
    at = dict(zip(found.evaluations, found.hypervolume, strict=True))
    area = 0.0
    for n in range(1, len(costs) + 1):
        slow = hypervolume_within(costs[:n], CORNER)
        area = at.get(n, area)
        assert area == pytest.approx(slow)
    assert found.evaluations[-1] == 60


def test_a_staircase_has_the_area_of_its_steps() -> None:
    n = 7
    found = course(trials_of([(i, (n - 1 - i) / 10) for i in range(n)]), (float(n), n / 10))
    assert found.hypervolume[-1] == pytest.approx(n * (n + 1) / 2 / 10)


def test_steps_that_raise_nothing_are_left_out_but_the_last() -> None:
    found = course(trials_of([(5, 0.5), (6, 0.6), (7, 0.7), (6, 0.5)]), CORNER)
    assert found.evaluations == (1, 4)
    assert found.hypervolume == (pytest.approx(2.0), pytest.approx(2.0))
    assert found.seconds == (0.0, 3.0)


def test_without_times_there_are_none() -> None:
    assert course([Trial("a", 5.0, 0.5, True, None)], CORNER).seconds == (None,)


def test_nothing_gives_nothing() -> None:
    assert course([], CORNER).evaluations == ()
    assert course([None, None], CORNER).evaluations == ()


@pytest.mark.parametrize(
    "trial",
    [
        {},
        {"latency_ms": None, "accuracy": 0.9},
        {"latency_ms": math.nan, "accuracy": 0.9},
        {"latency_ms": 0, "accuracy": 0.9},
        {"latency_ms": True, "accuracy": 0.9},
        {"latency_ms": 1.0, "accuracy": math.nan},
        {"latency_ms": "1", "accuracy": 0.5},
        {"latency_ms": {"tpu": 1.0}, "accuracy": 0.5},
    ],
)
def test_trials_without_numbers_are_left_out(trial: dict[str, Any]) -> None:
    assert searched([trial], "cpu") == [None]


def test_a_trial_says_what_its_device_needs() -> None:
    raw = {"id": "a", "latency_ms": {"cpu": 1.5, "tpu": 9}, "accuracy": 0.5, "in_domain": {"cpu": False, "tpu": True}}
    assert searched([raw], "cpu") == [Trial("a", 1.5, 0.5, False, None)]
    assert searched([raw], "tpu") == [Trial("a", 9.0, 0.5, True, None)]
    assert searched([{"latency_ms": 1, "accuracy": 1, "finished_s": 7}], "x") == [Trial("?", 1.0, 1.0, True, 7.0)]
