"""What a sampler is told of candidates before they are evaluated: latency, and the work that they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.latency.features import features_matrix
from hwnas.search.budget import Budget
from hwnas.search.sampler import Describe

__all__ = ["Describer"]

_MOST_KEPT = 50_000


class Describer:
    """Parameters of candidates -> (predicted latency in ms, features of the operations), or None: over a budget.

    Args:
        budget: of the search.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._known: dict[Candidate, tuple[Mapping[str, float], Sequence[float]] | None] = {}

    def by_device(self) -> dict[str, Describe]:
        """Device -> what describes candidates by their latency on it; what they have in common is computed once."""
        return {device: partial(self._described, device) for device in self.budget.scorers}

    def _described(
        self, device: str, several: Sequence[Mapping[str, Any]]
    ) -> list[tuple[float, Sequence[float]] | None]:
        joint = self.budget.joint
        candidates = [joint.candidate(params) for params in several]
        if len(self._known) > _MOST_KEPT:
            self._known.clear()
        new = [c for c in dict.fromkeys(candidates) if c not in self._known]
        sensible = [candidate for candidate in new if joint.accepts(candidate)]
        self.budget.predict_all(sensible)
        allowed = [candidate for candidate in sensible if self.budget.excess(candidate) == 0]
        self._known |= dict.fromkeys(new)
        if allowed:
            features = np.log1p(features_matrix([joint.operations(candidate) for candidate in allowed])[0])
            for candidate, row in zip(allowed, features, strict=True):
                latency_ms = {name: found.latency_ms for name, found in self.budget.predict(candidate).items()}
                self._known[candidate] = (latency_ms, row)
        found = [self._known[candidate] for candidate in candidates]
        return [None if known is None else (known[0][device], known[1]) for known in found]
