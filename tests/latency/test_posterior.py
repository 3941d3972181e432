from __future__ import annotations

import numpy as np
import pytest
from made_up import random_networks, true_ms
from numpy.typing import NDArray

from hwnas.errors import PredictorError
from hwnas.latency.features import features_matrix
from hwnas.latency.posterior import Pool, _answer, _Setting, _target, posterior

FloatArray = NDArray[np.float64]
NETWORKS = random_networks(80, seed=3)
FEATURES, _ = features_matrix(NETWORKS)
TRUE = np.array([true_ms(network) for network in NETWORKS])
NOBODY = np.empty((len(NETWORKS), 0))


def _error(pool: Pool, at: list[int], latency: FloatArray) -> float:
    found = posterior(pool, at, latency[at])
    return float(np.mean(np.abs(found.latency_ms / latency - 1)))


def test_a_device_like_a_known_one_is_learned_from_three_measurements() -> None:
    known = np.column_stack([3 * TRUE, np.sqrt(TRUE)])
    assert _error(Pool(FEATURES, known), [0, 10, 20], TRUE) < 0.05


def test_known_devices_that_resemble_nothing_do_no_harm() -> None:
    strange = np.random.default_rng(0).lognormal(size=(len(NETWORKS), 3))
    alone = Pool(FEATURES, NOBODY)
    at = alone.design(15, np.arange(len(NETWORKS)))
    assert _error(Pool(FEATURES, strange), at, TRUE) < 1.5 * _error(alone, at, TRUE) + 0.01


def test_more_measurements_leave_less_doubt() -> None:
    pool = Pool(FEATURES, NOBODY)
    at = pool.design(40, np.arange(len(NETWORKS)))
    few, many = posterior(pool, at[:8], TRUE[at[:8]]), posterior(pool, at, TRUE[at])
    assert many.spread.mean() < few.spread.mean()
    assert np.mean(np.abs(many.latency_ms / TRUE - 1)) < np.mean(np.abs(few.latency_ms / TRUE - 1)) < 0.4


@pytest.mark.parametrize("n", [1, 2])
def test_one_measurement_is_enough_for_an_answer(n: int) -> None:
    found = posterior(Pool(FEATURES, NOBODY), list(range(n)), TRUE[:n])
    for values in (found.latency_ms, found.spread, found.left_out_ms, found.left_out_spread):
        assert np.isfinite(values).all()
        assert (values > 0).all()


@pytest.mark.parametrize("scale", ["ms", "log"])
def test_what_is_left_out_is_predicted_from_the_others(scale: str) -> None:
    """Against the slow way: condition on the others, one by one."""
    pool, at = Pool(FEATURES, NOBODY), np.arange(0, 24, 2)
    setting = _Setting(scale, (("known", 0.0), ("simple", 0.3), ("linear", 0.3), ("smooth", 0.05)), 0.07, 0.0)
    kernels = pool.kernels(scale, at)
    mean = _answer(kernels, at, TRUE[at], setting)[2]
    target, unit, _, offset = _target(TRUE[at], scale)
    covariance = sum(size**2 * kernels[name][0][at] for name, size in setting.sizes if size)
    covariance = covariance + (0.3 if scale == "ms" else 3.0) ** 2
    for row in range(len(at)):
        others = np.arange(len(at)) != row
        inner = covariance[np.ix_(others, others)] + np.diag((0.07 * unit[others]) ** 2)
        slow = covariance[row, others] @ np.linalg.solve(inner, target[others])
        slow = slow + offset if scale == "log" else np.log(max(slow, 0.05 * target.min()) * offset)
        assert mean[row] == pytest.approx(slow, rel=1e-6, abs=1e-6)


def test_the_first_choice_is_the_best_single_one() -> None:
    """Against trying each: the sum of the variances that are left."""
    pool, among = Pool(FEATURES, NOBODY), np.arange(30)
    parts = pool.kernels("log", among)
    sizes = {"linear": 0.3, "smooth": 0.1, "simple": 0.1}
    prior = sum(size**2 * parts[name][0][among] for name, size in sizes.items()) + 1.0
    left = [np.trace(prior) - (prior[:, j] ** 2).sum() / (prior[j, j] + 0.05**2) for j in among]
    assert pool.design(1, among) == [int(np.argmin(left))]


def test_a_design_has_no_network_twice() -> None:
    chosen = Pool(FEATURES, NOBODY).design(100, np.arange(50))
    assert sorted(chosen) == list(range(50))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_known_device_needs_real_latencies(bad: float) -> None:
    known = np.ones((len(NETWORKS), 1))
    known[5] = bad
    with pytest.raises(PredictorError, match="leave it out"):
        Pool(FEATURES, known)
