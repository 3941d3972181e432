from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from hwnas.errors import PredictorError
from hwnas.latency.features import COLUMNS, quantity_column
from hwnas.latency.inventory import POINT, Inventory
from hwnas.latency.model import MAX_RESIDUAL, Model, Smooth, kernel

SMOOTH = Smooth(
    center=np.zeros(2), scale=np.ones(2), support=np.array([[0.0, 0.0], [1.0, 1.0]]), alpha=np.array([0.1, -0.1]),
    length=1.0,
)  # fmt: skip
N = len(COLUMNS)


def make(**changes: Any) -> Model:
    values: dict[str, Any] = {
        "weights": np.array([1.0, 0.5, *np.zeros(N - 2)]), "intercept": 0.1, "floor": 0.01, "columns": np.array([0, 2]),
        "by_columns": SMOOTH, "by_totals": Smooth.none(), "op_points": np.empty((0, POINT)), "op_alpha": np.empty(0),
        "width": 0.05, "flow": 0,
    }  # fmt: skip
    return Model(**(values | changes))


def row(*values: float) -> np.ndarray[Any, Any]:
    return np.array([[*values, *np.zeros(N - len(values))]])


def test_the_kernel_is_the_textbook_one() -> None:
    left, right = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(kernel(left, right, 5.0), [[np.exp(-0.5), 1.0]])


def test_prior_times_residual() -> None:
    model, features = make(), row(0.0, 2.0, 0.0)
    residual = 0.1 - 0.1 * np.exp(-1)
    np.testing.assert_allclose(model.latency_ms(features), 1.1 * np.exp(residual))


def test_far_away_only_the_prior_is_left() -> None:
    features = row(1e3, 0.0, 1e3)
    np.testing.assert_allclose(make().latency_ms(features), make().prior(features))


def test_a_residual_is_bounded_and_a_prediction_positive() -> None:
    wild = make(by_columns=replace(SMOOTH, alpha=np.array([1e9, 1e9])), weights=np.zeros(N), intercept=0.0)
    latency = wild.latency_ms(row())
    np.testing.assert_allclose(latency, wild.floor * np.exp(MAX_RESIDUAL))


def test_totals_and_single_operations_are_factors_as_well() -> None:
    by_totals = Smooth(
        center=np.zeros(4),
        scale=np.ones(4),
        support=np.log([[3.0, 1e-6, 1e-6, 1e-6]]),
        alpha=np.array([0.2]),
        length=1.0,
    )
    model = make(by_totals=by_totals, op_points=np.array([[1.0, 2, 3, 4, 5]]), op_alpha=np.array([0.3]))
    mmacs = row()
    mmacs[0, quantity_column(0, 0)] = 3.0
    plain = make().latency_ms(mmacs)
    np.testing.assert_allclose(model.latency_ms(mmacs), plain * np.exp(0.2))
    # One operation that was measured, with the half of the prior; one of another class.
    points, counts = np.array([[1.0, 2, 3, 4, 5], [2.0, 2, 3, 4, 5]]), sparse.csr_array([[1.0, 1.0]])
    costs = sparse.csr_array(([1.0], ([0], [1])), shape=(2, N))
    measured = row(0.0, 0.2)
    half = model.latency_ms(measured, Inventory(counts, points, costs))
    share = 0.5 / 0.2
    np.testing.assert_allclose(half, make().latency_ms(measured) * np.exp(share * 0.3))


def test_arrays_round_trip() -> None:
    again = Model.from_arrays(make().to_arrays())
    assert again.fingerprint == make().fingerprint
    assert make(intercept=0.2).fingerprint != make().fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": np.full(N, -1.0)},
        {"weights": np.full(N, np.nan)},
        {"intercept": -0.1},
        {"intercept": float("inf")},
        {"floor": 0.0},
        {"width": 0.0},
        {"width": 1e9},
        {"flow": 2},
        {"block": 0},
        {"block": 7},
        {"columns": np.array([0, N])},
        {"columns": np.array([-1, 0])},
        {"columns": np.array([0])},
        {"by_columns": replace(SMOOTH, length=0.0)},
        {"by_columns": replace(SMOOTH, scale=np.array([1.0, 0.0]))},
        {"by_columns": replace(SMOOTH, support=np.zeros((2, 3)))},
        {"by_columns": replace(SMOOTH, alpha=np.zeros(3))},
        {"by_columns": replace(SMOOTH, alpha=np.array([np.nan, 0.0]))},
        {"by_totals": SMOOTH},
        {"op_alpha": np.zeros(3)},
        {"op_points": np.zeros((2, 3)), "op_alpha": np.zeros(2)},
        {"op_points": np.full((1, POINT), np.inf), "op_alpha": np.zeros(1)},
    ],
    ids=str,
)
def test_unreasonable_numbers_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PredictorError):
        make(**changes)


def test_a_file_of_before_there_were_blocks_has_none() -> None:
    plain, blocked = make(), make(block=16)
    assert "block" not in plain.to_arrays()
    assert Model.from_arrays(plain.to_arrays()).block == 1
    assert Model.from_arrays(blocked.to_arrays()).block == 16
    assert plain.fingerprint != blocked.fingerprint
