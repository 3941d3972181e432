from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hwnas.core.pareto import hypervolume_2d, hypervolume_within, is_non_dominated, knee, spread_out
from hwnas.errors import ReferencePointError

COSTS = st.integers(0, 12).flatmap(lambda n: arrays(float, (n, 2), elements=st.integers(0, 6).map(float)))


def slow_non_dominated(costs: np.ndarray) -> list[bool]:
    """By the definition, row against row; of equal rows the first."""
    keep = []
    for i, a in enumerate(costs):
        dominated = any((b <= a).all() and (b < a).any() for b in costs)
        repeated = any((costs[j] == a).all() for j in range(i))
        keep.append(not dominated and not repeated)
    return keep


def slow_hypervolume(costs: np.ndarray, reference: np.ndarray) -> float:
    """Count the unit squares that a row dominates (whole numbers only)."""
    squares = [(x, y) for x in range(int(reference[0])) for y in range(int(reference[1]))]
    return float(sum(any(a <= x and b <= y for a, b in costs) for x, y in squares))


@given(COSTS)
def test_non_dominated_is_the_definition(costs: np.ndarray) -> None:
    assert is_non_dominated(costs).tolist() == slow_non_dominated(costs)


@given(COSTS)
@settings(max_examples=60)
def test_hypervolume_counts_squares(costs: np.ndarray) -> None:
    reference = np.array([7.0, 7.0])
    assert hypervolume_2d(costs, reference) == slow_hypervolume(costs, reference)


@pytest.mark.parametrize("n", range(30))
def test_hypervolume_of_a_staircase(n: int) -> None:
    stairs = np.array([(i, n - 1 - i) for i in range(n)], dtype=float).reshape(-1, 2)
    assert hypervolume_2d(stairs, np.full(2, float(n))) == n * (n + 1) / 2


@given(COSTS, COSTS)
@settings(max_examples=50)
def test_more_rows_never_lose_hypervolume(a: np.ndarray, b: np.ndarray) -> None:
    reference = np.array([7.0, 7.0])
    assert hypervolume_2d(np.concatenate([a, b]), reference) >= hypervolume_2d(a, reference)


@pytest.mark.parametrize("row", [(3.0, 0.0), (0.0, 3.0), (np.nan, 0.0), (np.inf, 0.0)])
def test_rows_above_the_reference_point(row: tuple[float, float]) -> None:
    with pytest.raises(ReferencePointError, match="every cost must be <="):
        hypervolume_2d(np.array([row, (1.0, 1.0)]), np.array([2.0, 2.0]))


def test_empty() -> None:
    nothing = np.zeros((0, 2))
    assert is_non_dominated(nothing).shape == (0,)
    assert hypervolume_2d(nothing, np.ones(2)) == 0.0
    assert knee(nothing) is None
    assert spread_out(nothing, 3) == []


def test_rows_above_the_reference_count_nothing() -> None:
    costs = np.array([(1.0, 1.0), (3.0, 0.0), (0.0, 3.0)])
    assert hypervolume_within(costs, (2.0, 2.0)) == 1.0
    assert hypervolume_within(np.empty((0, 2)), (2.0, 2.0)) == 0.0


def test_knee_is_the_bend() -> None:
    assert knee(np.array([(0.0, 10.0), (1.0, 1.0), (10.0, 0.0)])) == 1
    assert knee(np.array([(0.0, 10.0), (10.0, 0.0)])) is None


def test_knee_does_not_depend_on_units() -> None:
    costs = np.array([(1.0, 0.5), (2.0, 0.2), (3.0, 0.15), (9.0, 0.1)])
    assert knee(costs) == knee(costs * [1000.0, 0.01]) == 1


@given(COSTS, st.integers(0, 8))
def test_spread_out_keeps_the_ends(costs: np.ndarray, count: int) -> None:
    front = costs[is_non_dominated(costs)]
    chosen = spread_out(front, count)
    assert len(chosen) == min(count, len(front))
    assert len(set(chosen)) == len(chosen)
    assert front[chosen][:, 0].tolist() == sorted(front[chosen][:, 0])
    if count >= 2 and len(front) >= 2:
        assert {chosen[0], chosen[-1]} == {int(np.argmin(front[:, 0])), int(np.argmax(front[:, 0]))}


def test_spread_out_drops_the_crowd() -> None:
    line = np.array([(0.0, 10.0), (0.1, 9.9), (0.2, 9.8), (5.0, 5.0), (10.0, 0.0)])
    assert spread_out(line, 3) == [0, 3, 4]
