"""Samplers of two known objectives and one learned one, in one study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, IntDistribution

from hwnas.search.sampler import HypervolumeSampler
from hwnas.search.turns import TurnsSampler

SPACE: dict[str, BaseDistribution] = {"width": IntDistribution(1, 40), "depth": IntDistribution(1, 40)}
COSTS = (lambda width, depth: 1.0 + width, lambda width, depth: 1.0 + depth)


def describe(number: int, several: Sequence[Mapping[str, Any]]) -> list[tuple[float, Sequence[float]]]:
    return [(COSTS[number](**one), ()) for one in several]


def make(seed: int = 0) -> TurnsSampler:
    return TurnsSampler(
        HypervolumeSampler(partial(describe, number), space=SPACE, known=number, learned=2, seed=seed)
        for number in (0, 1)
    )


def run(sampler: TurnsSampler, trials: int, *, study: optuna.Study | None = None) -> optuna.Study:
    study = study or optuna.create_study(directions=["minimize", "minimize", "maximize"], sampler=sampler)
    study.sampler = sampler
    first = len(study.trials)
    for number in range(first, first + trials):
        sampler.turn = number
        trial = study.ask(fixed_distributions=SPACE)
        width, depth = trial.params["width"], trial.params["depth"]
        study.tell(trial, [COSTS[0](width, depth), COSTS[1](width, depth), (width + depth) / 100])
    return study


def test_each_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    propose = HypervolumeSampler.sample_relative

    def watched(sampler: HypervolumeSampler, *values: Any) -> Any:
        asked.append(sampler.known)
        return propose(sampler, *values)

    monkeypatch.setattr(HypervolumeSampler, "sample_relative", watched)
    run(make(), 5)
    assert asked == [0, 1, 0, 1, 0]


def test_all_are_told_so_that_the_study_is_read_once_by_each(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    get_trials = optuna.Study.get_trials

    def counted(study: optuna.Study, *args: Any, **settings: Any) -> Any:
        nonlocal reads
        reads += 1
        return get_trials(study, *args, **settings)

    sampler, study = make(), run(make(), 8)
    monkeypatch.setattr(optuna.Study, "get_trials", counted)
    run(sampler, 12, study=study)
    assert reads == 1 + 2  # once to count the trials that were there


def test_it_goes_on_as_an_unbroken_one() -> None:
    unbroken = run(make(), 14)
    broken = run(make(), 8)
    again = run(make(), 6, study=broken)
    assert [trial.params for trial in again.trials] == [trial.params for trial in unbroken.trials]
