from __future__ import annotations

import numpy as np

from hwnas.search.surrogate import Surrogate


def known(n: int) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(n).normal(0, 0.7, (n, 2))
    return features, np.sin(2 * features[:, 0]) + features[:, 1]


def test_it_learns_a_smooth_function_and_knows_where_it_does_not() -> None:
    surrogate = Surrogate()
    surrogate.fit_kernel(*known(40), first=1)
    surrogate.condition(*known(60))
    features, values = known(30)
    mean, spread = surrogate.predict(features)
    assert np.abs(mean - values).mean() < 0.1
    _, far = surrogate.predict(features + 20)
    assert far.min() > 5 * np.median(spread)


def test_the_kernel_stays_until_it_is_fitted_again() -> None:
    one, other = Surrogate(), Surrogate()
    for surrogate, n in ((one, 30), (other, 30)):
        surrogate.fit_kernel(*known(n), first=2)
    one.condition(*known(35))
    one.condition(*known(50))
    other.condition(*known(50))
    np.testing.assert_array_equal(one.predict(known(10)[0])[0], other.predict(known(10)[0])[0])
