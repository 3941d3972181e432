"""What a sampler remembers of finished trials, so that a proposal costs the same after 100 and after 100,000.

Trials come one by one. What is asked for at each proposal (the front, the trials that are learned from, what was seen)
is kept up to date; what looks at all trials is done after each tenth more.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Memory", "checkpoint", "front_of"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Params = Mapping[str, Any]

_MOST_LEARNED = 200  # evaluations that are learned from; those near the front, and some of the others
_MOST_WAITING = 60  # more that may come before they are chosen again


class Memory:
    """Finished trials, in the order in which they came.

    Args:
        first: trials before anything is learned.
    Attributes:
        params: of each trial.
        seen: keys of the candidates that were evaluated.
        front: indices of the non-dominated, cheapest first.
        learned: indices of those that are learned from.
        of_kernel: those that were learned from at the last checkpoint: after `first` trials, and each tenth more.
    """

    def __init__(self, first: int) -> None:
        self.first = first
        self.params: list[Params] = []
        self.seen: set[Hashable] = set()
        self.front: list[int] = []
        self.learned: list[int] = []
        self.of_kernel: list[int] = []
        self.at_kernel = 0
        self._features = np.empty((0, 0), dtype=np.float32)
        self._costs, self._scores = np.empty(0), np.empty(0)

    def __len__(self) -> int:
        return len(self.params)

    @property
    def costs(self) -> FloatArray:
        """Of all trials, `n`."""
        return self._costs[: len(self)]

    @property
    def scores(self) -> FloatArray:
        """What is minimised and not known beforehand, of all trials, `n`."""
        return self._scores[: len(self)]

    def features(self, at: list[int]) -> FloatArray:
        """Of some trials, `len(at) x d`."""
        return np.asarray(self._features[at], dtype=np.float64)

    def add(self, params: Params, key: Hashable, cost: float, score: float, features: FloatArray) -> None:
        """Remember one more trial.

        Args:
            key: the same for candidates that are taken for the same.
            cost, score: both minimised.
            features: `d`.
        """
        at = len(self)
        if at == len(self._costs):
            self._grow(len(features))
        self._costs[at], self._scores[at], self._features[at] = cost, score, features
        self.params.append(params)
        self.seen.add(key)
        among = [*self.front, at]
        self.front = [among[i] for i in front_of(self._costs[among], self._scores[among])]
        self._learn_from(at)

    def _learn_from(self, at: int) -> None:
        count = at + 1
        if checkpoint(count, self.first) == count:
            self.learned = self._most_telling(np.arange(count), count)
            self.of_kernel, self.at_kernel = self.learned, count
        elif len(self.learned) < _MOST_LEARNED + _MOST_WAITING:
            self.learned = [*self.learned, at]
        else:
            self.learned = self._most_telling(np.array([*self.learned, at]), count)

    def _most_telling(self, among: IntArray, seed: int) -> list[int]:
        """All, or the nearest to the front and some of the rest."""
        if len(among) <= _MOST_LEARNED:
            return [int(at) for at in among]
        front_costs, front_scores = self._costs[self.front], self._scores[self.front]
        best = front_scores[np.searchsorted(front_costs, self._costs[among], side="right") - 1]
        order = among[np.argsort(self._scores[among] - best, kind="stable")]
        near, rest = order[: 2 * _MOST_LEARNED // 3], order[2 * _MOST_LEARNED // 3 :]
        some = np.random.default_rng(seed).permutation(rest)[: _MOST_LEARNED - len(near)]
        return [int(at) for at in [*near, *some]]

    def _grow(self, d: int) -> None:
        size = max(64, 2 * len(self._costs))
        features = np.empty((size, d), dtype=np.float32)
        features[: len(self), :] = self._features[: len(self)] if len(self) else 0
        costs, scores = np.empty(size), np.empty(size)
        costs[: len(self)], scores[: len(self)] = self.costs, self.scores
        self._features, self._costs, self._scores = features, costs, scores


def checkpoint(count: int, first: int) -> int:
    """The last of `first`, a tenth more, and so on, that is not above `count`; `first` if all are."""
    at = first
    while (after := int(1.1 * at) + 1) <= count:
        at = after
    return at


def front_of(costs: FloatArray, scores: FloatArray) -> list[int]:
    """Indices of the non-dominated, cheapest first."""
    found, best = [], np.inf
    for at in np.lexsort((scores, costs)):
        if scores[at] < best:
            found.append(int(at))
            best = scores[at]
    return found
