from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.errors import PredictorError
from hwnas.latency.model import MAX_RESIDUAL, Model, kernel


def make(**changes: Any) -> Model:
    values: dict[str, Any] = {
        "weights": np.array([1.0, 0.5, 0.0]), "intercept": 0.1, "floor": 0.01, "columns": np.array([0, 2]),
        "center": np.zeros(2), "scale": np.ones(2), "support": np.array([[0.0, 0.0], [1.0, 1.0]]),
        "alpha": np.array([0.1, -0.1]), "length": 1.0, "width": 0.05, "flow": 0,
    }  # fmt: skip
    return Model(**(values | changes))


def test_the_kernel_is_the_textbook_one() -> None:
    left, right = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(kernel(left, right, 5.0), [[np.exp(-0.5), 1.0]])


def test_prior_times_residual() -> None:
    model, features = make(), np.array([[0.0, 2.0, 0.0]])
    residual = 0.1 - 0.1 * np.exp(-1)
    np.testing.assert_allclose(model.latency_ms(features), 1.1 * np.exp(residual))


def test_far_away_only_the_prior_is_left() -> None:
    features = np.array([[1e3, 0.0, 1e3]])
    np.testing.assert_allclose(make().latency_ms(features), make().prior(features))


def test_a_residual_is_bounded_and_a_prediction_positive() -> None:
    wild = make(alpha=np.array([1e9, 1e9]), weights=np.zeros(3), intercept=0.0)
    latency = wild.latency_ms(np.zeros((1, 3)))
    np.testing.assert_allclose(latency, wild.floor * np.exp(MAX_RESIDUAL))


def test_arrays_round_trip() -> None:
    again = Model.from_arrays(make().to_arrays())
    assert again.fingerprint == make().fingerprint
    assert make(intercept=0.2).fingerprint != make().fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": np.array([-1.0, 0.0, 0.0])},
        {"weights": np.array([np.nan, 0.0, 0.0])},
        {"intercept": -0.1},
        {"intercept": float("inf")},
        {"floor": 0.0},
        {"length": 0.0},
        {"width": 0.0},
        {"width": 1e9},
        {"flow": 2},
        {"scale": np.array([1.0, 0.0])},
        {"columns": np.array([0, 3])},
        {"columns": np.array([-1, 0])},
        {"columns": np.array([0])},
        {"support": np.zeros((2, 3))},
        {"alpha": np.zeros(3)},
    ],
    ids=str,
)
def test_unreasonable_numbers_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(PredictorError):
        make(**changes)
