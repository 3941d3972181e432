from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.space import SearchSpace
from hwnas.errors import BuildError, TrainingError
from hwnas.search.pool import InTurn


def test_in_turn_does_one_and_hands_back_what_became_of_it() -> None:
    def do(job: int) -> float:
        if job == 0:
            raise TrainingError("nothing to divide by")
        return 1 / job

    pool: InTurn[int, float] = InTurn(do)
    assert (pool.size, pool.n_free) == (1, 1)
    pool.begin(4)
    assert pool.n_free == 0
    assert pool.next() == (4, 0.25)
    pool.begin(0)
    job, error = pool.next() or (None, None)
    assert job == 0
    assert isinstance(error, TrainingError)
    assert pool.n_free == 1


@pytest.mark.parametrize("sampler", ["tpe", "hypervolume", "nsga2"])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_loop_with_several_at_a_time(
    size: int,
    sampler: str,
    make_space: Callable[..., SearchSpace],
    make_joint: Any,
    make_study: Any,
    make_budget: Any,
    make_evaluator: Any,
    make_loop: Any,
    recorder: Any,
    several: Any,
) -> None:
    joint = make_joint(make_space(tuple(range(4, 16)), (1, 3)))
    evaluator = make_evaluator(joint, failing=lambda candidate: int(candidate.id, 16) % 5 == 0)
    pool = several(evaluator.evaluate, size, np.random.default_rng(size))
    study = make_study(joint, sampler=sampler)
    records = make_loop(study, make_budget(joint), evaluator, 20, pool=pool).run()
    worked = [record for record in records if record.accuracy is not None]
    assert len(worked) == study.n_worked == recorder.steps[""] == 20
    assert len({record.candidate for record in records}) == len(records) == len(evaluator.seen)
    assert pool.begun == []
    assert study.running == set()
    assert pool.most == size
    # What was told is what was found out, whichever ended first.
    for record in worked:
        assert record.accuracy == evaluator.evaluate(record.candidate).accuracy


def test_a_small_space_is_evaluated_to_the_end(
    make_space: Callable[..., SearchSpace],
    make_joint: Any,
    make_study: Any,
    make_budget: Any,
    make_evaluator: Any,
    make_loop: Any,
    recorder: Any,
    several: Any,
) -> None:
    joint = make_joint(make_space((4, 8), (1, 3)))
    evaluator = make_evaluator(joint)
    pool = several(evaluator.evaluate, 3, np.random.default_rng(0))
    assert len(make_loop(make_study(joint), make_budget(joint), evaluator, 50, pool=pool).run()) == 8
    assert recorder.notes == ["all candidates within the budgets were evaluated (8)"]


def test_one_at_a_time_in_a_pool_is_the_same_search(
    make_joint: Any, make_study: Any, make_budget: Any, make_evaluator: Any, make_loop: Any, several: Any
) -> None:
    joint = make_joint()
    found = []
    for name, pooled in (("here", False), ("pool", True)):
        evaluator = make_evaluator(joint)
        pool = several(evaluator.evaluate, 1, np.random.default_rng(0)) if pooled else None
        loop = make_loop(make_study(joint, name=f"{name}.journal"), make_budget(joint), evaluator, 9, pool=pool)
        found.append(loop.run())
    assert found[0] == found[1]


def test_what_ran_when_a_search_was_stopped_is_evaluated_when_it_goes_on(
    make_space: Callable[..., SearchSpace],
    make_joint: Any,
    make_study: Any,
    make_budget: Any,
    make_evaluator: Any,
    make_loop: Any,
    several: Any,
) -> None:
    joint = make_joint(make_space(tuple(range(4, 16)), (1, 3)))

    def stops(candidate: Candidate) -> Evaluation:
        if len(evaluator.seen) == 5:
            raise KeyboardInterrupt
        found: Evaluation = evaluator.evaluate(candidate)
        return found

    evaluator = make_evaluator(joint)
    pool = several(stops, 4, np.random.default_rng(1))
    with pytest.raises(KeyboardInterrupt):
        make_loop(make_study(joint), make_budget(joint), evaluator, 12, pool=pool).run()
    in_work = {*pool.begun}
    assert len(in_work) == 3  # and the one that was interrupted
    records = make_loop(make_study(joint), make_budget(joint), evaluator, 12).run()
    assert len(records) == len({record.candidate for record in records}) == len(evaluator.seen) == 12
    assert in_work <= {record.candidate for record in records}


def test_an_error_that_is_no_failed_training_ends_the_search(
    make_joint: Any, make_study: Any, make_budget: Any, make_evaluator: Any, make_loop: Any, several: Any
) -> None:
    joint = make_joint()

    def cannot(candidate: Candidate) -> Evaluation:
        raise BuildError("no such network")

    pool = several(cannot, 2, np.random.default_rng(0))
    with pytest.raises(BuildError, match="no such network"):
        make_loop(make_study(joint), make_budget(joint), make_evaluator(joint), 4, pool=pool).run()
