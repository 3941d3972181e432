from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from hwnas.latency.inventory import POINT, op_kernel
from hwnas.latency.model import kernel
from hwnas.latency.residual import Process, Rest, choose_process, fit_residual


def rest(log_factor: Any, columns: Any, totals: Any = None, shares: Any = None, points: Any = None) -> Rest:
    n = len(log_factor)
    return Rest(
        log_factor=np.asarray(log_factor),
        columns=columns,
        totals=np.zeros((n, 4)) if totals is None else totals,
        shares=shares,
        points=np.empty((0, POINT)) if points is None else points,
    )


def operations(n: int, u: int, rng: np.random.Generator) -> tuple[Any, Any]:
    points = np.column_stack([rng.integers(0, 2, u), rng.uniform(3, 9, (u, POINT - 1))])
    shares = rng.random((n, u)) * (rng.random((n, u)) < 0.4)
    return sparse.csr_array(shares / shares.sum(axis=1, keepdims=True)), points


def test_a_smooth_function_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((200, 2))
    smooth = 0.2 * np.sin(inputs[:, 0])
    process = choose_process(rest(smooth, inputs), rng)
    assert process is not None
    assert process.op_weight == 0
    points, alpha = fit_residual(rest(smooth, inputs), process, 100, rng).columns
    new = rng.standard_normal((50, 2))
    found = kernel(new, points, process.column_length) @ alpha
    assert np.abs(found - 0.2 * np.sin(new[:, 0])).mean() < 0.01
    assert len(points) == len(alpha) == 100
    noise = choose_process(rest(rng.standard_normal(200), inputs), rng)
    assert noise is None or noise.noise >= 3


def test_what_depends_on_totals_is_found_there() -> None:
    rng = np.random.default_rng(1)
    totals = rng.standard_normal((150, 4))
    process = choose_process(rest(0.1 * np.tanh(totals[:, 2]), rng.standard_normal((150, 9)), totals), rng)
    assert process is not None
    assert process.total_length > 0
    assert process.column_length == 0


def test_what_single_operations_cost_is_found_in_their_sum() -> None:
    rng = np.random.default_rng(2)
    shares, points = operations(150, 40, rng)
    factor = 0.3 * np.tanh(points[:, 1] - 6)
    data = rest(shares @ factor, np.empty((150, 0)), shares=shares, points=points)
    process = choose_process(data, rng)
    assert process is not None
    assert process.op_weight > 0
    support, alpha = fit_residual(data, process, 300, rng).operations
    assert np.abs(op_kernel(points, support) @ alpha - factor).mean() < 0.05


def test_with_all_points_it_is_the_exact_posterior_mean() -> None:
    rng = np.random.default_rng(3)
    columns, totals, (shares, points) = rng.random((12, 3)), rng.random((12, 4)), operations(12, 9, rng)
    goal = rng.standard_normal(12)
    process = Process(column_length=1.5, total_length=1.0, op_weight=10.0, noise=0.1)
    found = fit_residual(rest(goal, columns, totals, shares, points), process, 300, rng)
    ours = kernel(columns, found.columns[0], 1.5) @ found.columns[1]
    ours += kernel(totals, found.totals[0], 1.0) @ found.totals[1]
    ours += shares @ op_kernel(points, found.operations[0]) @ found.operations[1]
    dense = shares.toarray()
    covariance = kernel(columns, columns, 1.5) + kernel(totals, totals, 1.0)
    covariance += 10.0 * dense @ op_kernel(points, points) @ dense.T
    exact = covariance @ np.linalg.solve(covariance + 0.1 * np.eye(12), goal)
    np.testing.assert_allclose(ours, exact, atol=1e-4)


@pytest.mark.parametrize("column_length", [1.0, 0.0])
def test_repeated_networks_are_kept_once(column_length: float) -> None:
    data = rest(np.ones(12), np.repeat(np.eye(3), 4, axis=0))
    found = fit_residual(data, Process(column_length, 1.0, 0.0, 0.1), 10, np.random.default_rng(0))
    assert len(found.columns[0]) == (3 if column_length else 0)
    assert len(found.totals[0]) == 3
    assert len(found.operations[0]) == 0
