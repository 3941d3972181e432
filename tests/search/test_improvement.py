from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from hwnas.core.pareto import hypervolume_2d, is_non_dominated
from hwnas.search.improvement import Staircase

WORST = (10.0, 1.0)


def a_front(rng: np.random.Generator, n: int) -> np.ndarray:
    points = np.stack([rng.uniform(0, 12, n), rng.uniform(0, 1.2, n)], axis=1)
    points = points[is_non_dominated(points)]
    return points[np.argsort(points[:, 0])]


@pytest.mark.parametrize("seed", range(6))
def test_the_gain_is_the_hypervolume_with_the_point_less_that_without(seed: int) -> None:
    rng = np.random.default_rng(seed)
    front, points = a_front(rng, 12), np.stack([rng.uniform(0, 12, 50), rng.uniform(0, 1.2, 50)], axis=1)

    def volume(costs: np.ndarray) -> float:
        return hypervolume_2d(costs[(costs <= WORST).all(axis=1)], np.array(WORST))

    wanted = [volume(np.vstack([front, point])) - volume(front) for point in points]
    found = Staircase(front[:, 0], front[:, 1], WORST).gain(points[:, 0], points[:, 1])
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_without_a_front_all_up_to_the_corner_is_gained() -> None:
    nothing = np.empty(0)
    assert Staircase(nothing, nothing, WORST).gain(np.array([4.0]), np.array([0.25])) == pytest.approx([6 * 0.75])


def test_what_is_certain_gains_what_it_gains() -> None:
    stairs = Staircase(np.array([2.0, 5.0]), np.array([0.6, 0.3]), WORST)
    costs, losses = np.array([1.0, 3.0, 6.0]), np.array([0.8, 0.4, 0.35])
    found = stairs.expected(costs, losses, np.zeros(3), lambda value: value)
    np.testing.assert_allclose(found, stairs.gain(costs, losses))


def test_the_expectation_is_near_its_closed_form() -> None:
    # One step of width 5 and height 1 - loss; E[max(0, 1 - L)] of a normal L, see Jones et al. 1998, equation 15.
    mean, spread = 0.9, 0.2
    z = (1 - mean) / spread
    wanted = 5 * ((1 - mean) * norm.cdf(z) + spread * norm.pdf(z))
    nothing = np.empty(0)
    stairs = Staircase(nothing, nothing, WORST)
    found = stairs.expected(np.array([5.0]), np.array([mean]), np.array([spread]), lambda value: value)
    assert found == pytest.approx([wanted], rel=0.03)
