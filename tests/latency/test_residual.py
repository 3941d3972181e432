from __future__ import annotations

import numpy as np

from hwnas.latency.model import kernel
from hwnas.latency.residual import Process, choose_process, fit_residual


def test_a_smooth_function_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((200, 2))
    smooth = 0.2 * np.sin(inputs[:, 0])
    process = choose_process(inputs, smooth, rng)
    assert process is not None
    points, alpha = fit_residual(inputs, smooth, process, 100, rng)
    new = rng.standard_normal((50, 2))
    found = kernel(new, points, process.length) @ alpha
    assert np.abs(found - 0.2 * np.sin(new[:, 0])).mean() < 0.01
    assert len(points) == len(alpha) == 100
    noise = choose_process(inputs, rng.standard_normal(200), rng)
    assert noise is None or noise.noise >= 3


def test_no_columns_no_process() -> None:
    assert choose_process(np.empty((10, 0)), np.ones(10), np.random.default_rng(0)) is None


def test_repeated_networks_are_kept_once() -> None:
    inputs = np.repeat(np.eye(3), 4, axis=0)
    points, _ = fit_residual(inputs, np.ones(12), Process(1.0, 0.1), 10, np.random.default_rng(0))
    assert len(points) == 3
