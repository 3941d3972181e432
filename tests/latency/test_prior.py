from __future__ import annotations

import numpy as np
from made_up import random_networks, true_ms

from hwnas.latency.features import features_matrix
from hwnas.latency.prior import choose_ridge, fit_prior, separable

NETWORKS = random_networks(100, seed=0)
FEATURES, _ = features_matrix(NETWORKS)
TRUE = np.array([true_ms(network) for network in NETWORKS])


def test_a_linear_device_is_found_and_no_cost_is_negative() -> None:
    keep = separable(FEATURES)
    weights, intercept = fit_prior(FEATURES, TRUE, keep, choose_ridge(FEATURES, TRUE, keep))
    assert (weights >= 0).all()
    assert intercept >= 0
    assert np.median(np.abs((FEATURES @ weights + intercept) / TRUE - 1)) < 0.01


def test_columns_that_repeat_others_are_left_out() -> None:
    same = np.repeat(FEATURES[:1], 10, axis=0) * np.arange(1, 11)[:, None]
    keep = separable(same)
    counts = [at for at in np.flatnonzero(keep) if keep[at]]
    assert 0 < len(counts) < np.count_nonzero(FEATURES[0])
