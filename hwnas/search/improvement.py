"""How much hypervolume a candidate adds whose cost is known and whose loss is uncertain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

__all__ = ["Staircase"]

FloatArray = NDArray[np.float64]

_QUANTILES = norm.ppf((np.arange(9) + 0.5) / 9)


class Staircase:
    """The border of what a front dominates, both objectives minimised.

    Args:
        costs: `m`, ascending, of the front.
        losses: `m`, descending.
        worst: (cost, loss): the corner that hypervolume is measured from.
    """

    def __init__(self, costs: FloatArray, losses: FloatArray, worst: tuple[float, float]) -> None:
        inside = costs < worst[0]
        # From each cost to the next one the best loss so far, never worse than the corner's.
        self._from = np.concatenate([[-np.inf], costs[inside]])
        self._to = np.concatenate([costs[inside], [worst[0]]])
        self._loss = np.minimum(np.concatenate([[worst[1]], losses[inside]]), worst[1])

    def gain(self, costs: FloatArray, losses: FloatArray) -> FloatArray:
        """Hypervolume that each of `n` points adds on its own."""
        widths = np.maximum(self._to - np.maximum(self._from, costs[:, None]), 0.0)
        return np.asarray((widths * np.maximum(self._loss - losses[:, None], 0.0)).sum(axis=1))

    def expected(
        self, costs: FloatArray, mean: FloatArray, spread: FloatArray, to_loss: Callable[[FloatArray], FloatArray]
    ) -> FloatArray:
        """Expected gain of `n` candidates, over nine equally likely values of each.

        Args:
            mean, spread: of a normal distribution.
            to_loss: from its values to losses.
        """
        gains = [self.gain(costs, to_loss(mean + spread * z)) for z in _QUANTILES]
        return np.asarray(np.mean(gains, axis=0))
