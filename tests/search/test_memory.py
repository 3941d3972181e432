from __future__ import annotations

import numpy as np
import pytest

from hwnas.core.pareto import is_non_dominated
from hwnas.search.memory import Memory, checkpoint, front_of


def filled(count: int, seed: int = 0) -> Memory:
    rng, memory = np.random.default_rng(seed), Memory(6)
    for number in range(count):
        cost, score, features = rng.random(), rng.random(), rng.random(3)
        memory.add({"n": number}, number, cost, score, features)
    return memory


@pytest.mark.parametrize("count", [1, 5, 6, 64, 65, 700])
def test_the_front_is_that_of_all_trials(count: int) -> None:
    memory = filled(count)
    slow = np.flatnonzero(is_non_dominated(np.column_stack([memory.costs, memory.scores])))
    assert sorted(memory.front) == slow.tolist()
    assert (np.diff(memory.costs[memory.front]) > 0).all()
    assert memory.front == front_of(memory.costs, memory.scores)
    assert len(memory) == len(memory.seen) == len(memory.costs) == count


def test_few_are_all_learned_from_and_many_are_chosen_by_the_front() -> None:
    assert filled(200).learned == list(range(200))
    memory = filled(5000)
    assert len(memory.learned) <= 260
    assert len(set(memory.learned)) == len(memory.learned)
    assert set(memory.front) <= set(memory.learned)
    assert memory.at_kernel == checkpoint(5000, 6)
    assert max(memory.of_kernel) < memory.at_kernel


def test_features_come_back_by_trial() -> None:
    memory = filled(100)
    rng = np.random.default_rng(0)
    rows = [(rng.random(), rng.random(), rng.random(3)) for _ in range(100)]
    np.testing.assert_allclose(memory.features([3, 99]), [rows[3][2], rows[99][2]], rtol=1e-6)
    assert memory.params[7] == {"n": 7}


@pytest.mark.parametrize("count", [6, 7, 8, 19, 100, 1000, 54_321])
def test_checkpoints_come_after_each_tenth_more(count: int) -> None:
    last = checkpoint(count, 6)
    assert 6 <= last <= count <= 1.1 * last + 1
    assert checkpoint(last, 6) == last
