from __future__ import annotations

import math

import numpy as np
import pytest

from hwnas.latency.scores import conformal_width, score


def test_a_perfect_prediction() -> None:
    true = np.array([1.0, 2.0, 4.0])
    found = score(true, true, true, true)
    assert (found.mape, found.spearman, found.kendall, found.within_5, found.coverage) == (0, 1, 1, 1, 1)


def test_shares_and_errors() -> None:
    true, predicted = np.array([100.0, 100, 100, 100]), np.array([100.0, 104, 108, 120])
    found = score(true, predicted, 0.95 * predicted, 1.05 * predicted)
    assert found.mape == pytest.approx(0.08)
    assert (found.within_5, found.within_10, found.coverage) == (0.5, 0.75, 0.5)
    assert found.spearman is None  # the truth has one value


@pytest.mark.parametrize("n", [9, 10, 99, 1000])
def test_the_width_is_an_order_statistic(n: int) -> None:
    errors = np.arange(1, n + 1) / n
    assert conformal_width(errors) == pytest.approx(math.ceil((n + 1) * 0.9) / n)


def test_few_errors_give_a_wider_interval() -> None:
    assert conformal_width(np.array([0.1])) > 0.1
    assert conformal_width(np.empty(0)) == pytest.approx(math.log(2))
    assert conformal_width(np.zeros(20)) > 0
