"""Samplers that take turns in one study, as those of several devices do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hwnas.search.encoding import Space

__all__ = ["TurnsSampler"]


class TurnsSampler(BaseSampler):
    """Leaves each proposal to one of several samplers, and lets all of them know how it ended.

    Args:
        samplers: one at least.
    Attributes:
        turn: number of the proposal; it says whose turn it is.
    """

    def __init__(self, samplers: Iterable[BaseSampler]) -> None:
        self.samplers = tuple(samplers)
        self.turn = 0

    @property
    def current(self) -> BaseSampler:
        """Whose turn it is."""
        return self.samplers[self.turn % len(self.samplers)]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Space:
        """As the sampler whose turn it is says."""
        return self.current.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        """Its proposal."""
        return self.current.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Its parameter."""
        return self.current.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Told to all, so that none of them needs to read the study again."""
        for sampler in self.samplers:
            sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Of all."""
        for sampler in self.samplers:
            sampler.reseed_rng()
