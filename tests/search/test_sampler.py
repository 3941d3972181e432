from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler

from hwnas.core.pareto import hypervolume_2d, hypervolume_within
from hwnas.search.sampler import HypervolumeSampler

SPACE = {f"layer{n}": CategoricalDistribution((0, 1, 2, 3)) for n in range(6)}
WORTH = np.array([5.0, 3.0, 2.0, 1.0, 0.5, 0.2])
WORST = (20.0, 0.5)


def work(params: Mapping[str, Any]) -> tuple[float, float]:
    """(cost, accuracy): each layer costs what it is, and is worth something else; half of it is lost in pairs."""
    levels = np.array([params[name] for name in SPACE], dtype=float)
    gain = float((WORTH * np.sqrt(levels)).sum() - 1.5 * abs(levels[0] - levels[1]))
    return 1 + float(levels.sum()), 1 - 0.5 * float(np.exp(-gain / 6))


def describe(several: Sequence[Mapping[str, Any]]) -> list[tuple[float, Sequence[float]] | None]:
    return [(work(params)[0], [params[name] for name in SPACE]) for params in several]


def run(sampler: BaseSampler, trials: int, study: optuna.Study | None = None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = study or optuna.create_study(directions=["minimize", "maximize"])
    study.sampler = sampler
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, list(work(trial.params)))
    return study


def volume(study: optuna.Study) -> float:
    costs = np.array([[trial.values[0], 1 - trial.values[1]] for trial in study.trials])
    return hypervolume_2d(costs[(costs <= WORST).all(axis=1)], np.array(WORST))


def test_it_finds_more_than_chance_with_a_quarter_of_the_evaluations() -> None:
    ours = [volume(run(HypervolumeSampler(describe, seed=seed), 25)) for seed in range(4)]
    chance = [volume(run(RandomSampler(seed=seed), 100)) for seed in range(4)]
    assert np.mean(ours) > np.mean(chance)


def test_parameters_alone_will_do_and_nothing_is_proposed_twice() -> None:
    def cost_alone(several: Sequence[Mapping[str, Any]]) -> list[tuple[float, Sequence[float]]]:
        return [(work(params)[0], ()) for params in several]

    study = run(HypervolumeSampler(cost_alone, space=SPACE), 25)
    assert volume(study) > volume(run(RandomSampler(seed=0), 25))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 25


def test_a_search_that_was_cut_off_goes_on_as_an_unbroken_one() -> None:
    whole = run(HypervolumeSampler(describe, space=SPACE, seed=3), 24)
    part = run(HypervolumeSampler(describe, space=SPACE, seed=3), 17)
    resumed = run(HypervolumeSampler(describe, space=SPACE, seed=3), 7, part)
    assert [trial.params for trial in resumed.trials] == [trial.params for trial in whole.trials]
    other = run(HypervolumeSampler(describe, space=SPACE, seed=4), 24)
    assert [trial.params for trial in other.trials] != [trial.params for trial in whole.trials]


def test_what_is_not_allowed_is_not_proposed() -> None:
    def cheap(several: Sequence[Mapping[str, Any]]) -> list[tuple[float, Sequence[float]] | None]:
        return [found if found and found[0] <= 8 else None for found in describe(several)]

    study = run(HypervolumeSampler(cheap, space=SPACE), 15)
    assert max(trial.values[0] for trial in study.trials) <= 8


def test_when_all_was_seen_it_draws() -> None:
    space = {"width": CategoricalDistribution((1, 2))}
    sampler = HypervolumeSampler(lambda several: [(p["width"], [p["width"]]) for p in several], space=space)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    for _ in range(4):
        trial = study.ask(space)
        study.tell(trial, [trial.params["width"], 0.5])
    assert {trial.params["width"] for trial in study.trials} == {1, 2}


def test_numbers_and_another_direction() -> None:
    space = {"depth": IntDistribution(1, 9, step=2), "rate": FloatDistribution(1e-3, 1.0, log=True)}

    def cost(several: Sequence[Mapping[str, Any]]) -> list[tuple[float, Sequence[float]]]:
        return [(float(params["depth"]), ()) for params in several]

    def found(sampler: BaseSampler) -> float:
        study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        for _ in range(20):
            trial = study.ask(space)
            loss = 1 / trial.params["depth"] + abs(np.log10(trial.params["rate"]) + 1)
            study.tell(trial, [trial.params["depth"], loss])
        assert all(trial.params["depth"] in (1, 3, 5, 7, 9) for trial in study.trials)
        return hypervolume_within(np.array([trial.values for trial in study.trials]), (9.0, 2.0))

    ours = [found(HypervolumeSampler(cost, seed=seed)) for seed in range(3)]
    chance = [found(RandomSampler(seed=seed)) for seed in range(3)]
    assert np.mean(ours) > np.mean(chance)


def test_the_study_is_read_once_and_then_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = HypervolumeSampler(describe, space=SPACE)
    before = run(HypervolumeSampler(describe, space=SPACE), 10)
    reads = 0
    get_trials = optuna.Study.get_trials

    def counted(study: optuna.Study, *args: Any, **settings: Any) -> Any:
        nonlocal reads
        reads += 1
        return get_trials(study, *args, **settings)

    monkeypatch.setattr(optuna.Study, "get_trials", counted)
    run(sampler, 10, before)
    assert reads == 1


def test_what_another_process_evaluates_is_not_proposed_and_is_learned_from_later() -> None:
    space = {"width": CategoricalDistribution((1, 2, 3))}
    sampler = HypervolumeSampler(lambda several: [(p["width"], [p["width"]]) for p in several], space=space)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
    open_trials = [study.ask(space) for _ in range(3)]
    assert {trial.params["width"] for trial in open_trials} == {1, 2, 3}
    for trial in reversed(open_trials):
        study.tell(trial, [trial.params["width"], 0.5])
    study.ask(space)
    assert len(sampler._memory) == 3


def test_another_study_begins_anew() -> None:
    sampler = HypervolumeSampler(describe, space=SPACE, seed=3)
    run(sampler, 9)
    again = run(sampler, 9)
    first = run(HypervolumeSampler(describe, space=SPACE, seed=3), 9)
    assert [trial.params for trial in again.trials] == [trial.params for trial in first.trials]


def test_each_of_several_costs_has_a_sampler() -> None:
    space = {"width": IntDistribution(1, 30), "depth": IntDistribution(1, 30)}

    def by(name: str) -> HypervolumeSampler:
        known = list(space).index(name)
        return HypervolumeSampler(lambda several: [(float(p[name]), ()) for p in several], known=known, learned=2)

    samplers = [by(name) for name in space]
    study = optuna.create_study(directions=["minimize", "minimize", "maximize"])
    for number in range(24):
        study.sampler = samplers[number % 2]
        trial = study.ask(space)
        width, depth = trial.params["width"], trial.params["depth"]
        study.tell(trial, [width, depth, 1 - 1 / (width + depth)])
    best = [trial.values for trial in study.best_trials]
    assert min(values[0] for values in best) <= 3
    assert min(values[1] for values in best) <= 3
    assert max(values[2] for values in best) > 1 - 1 / 40
