"""The joint space: architecture, precision and pruning as one set of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from hwnas.core.architecture import Architecture, Value
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.ops import OpList
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskLike
from hwnas.trace import operations

__all__ = ["JointSpace"]

PRECISION = "precision"
PRUNE = "prune."


@dataclass(frozen=True)
class JointSpace:
    """Candidates as flat label -> value.

    Attributes:
        space: bound to the task.
        task: its shapes.
        precisions: that may be chosen.
        multiple: the device's friendly channel multiple.
        stages: whose channels may be pruned; of the space's.
        most_cut: stage -> the largest ratio that is worth a try; a stage that is not named may be cut by any.
    """

    space: SearchSpace
    task: TaskLike
    precisions: tuple[str, ...]
    multiple: int
    stages: tuple[str, ...]
    most_cut: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """Architecture choices, then precision, then a prune ratio a stage."""
        prune = [Choice(PRUNE + stage, self.space.prune_ratios(stage)) for stage in self.stages]
        return (*self.space.choices, Choice(PRECISION, self.precisions), *prune)

    def candidate(self, values: Mapping[str, Value]) -> Candidate:
        """The candidate that these values describe, in its canonical form (see `canonical`)."""
        own = {choice.label: values[choice.label] for choice in self.space.choices}
        ratios = {stage: float(values[PRUNE + stage]) for stage in self.stages}
        plan = CompressionPlan.of(str(values[PRECISION]), ratios)
        return self.canonical(Candidate(Architecture.of(self.space.name, own), plan))

    def values(self, candidate: Candidate) -> dict[str, Value]:
        """The inverse of `candidate`."""
        prune = dict(candidate.compression.prune)
        values: dict[str, Value] = dict(candidate.architecture)
        values[PRECISION] = candidate.compression.precision
        return values | {PRUNE + stage: prune.get(stage, 0.0) for stage in self.stages}

    def canonical(self, candidate: Candidate) -> Candidate:
        """One candidate for all that are the same network.

        Choices that the architecture does not use take their first option, and ratios that cut nothing are dropped.
        """
        architecture = self.space.canonical(candidate.architecture)
        plan = candidate.compression
        least = getattr(self.space, "least_plan", None)
        if least is not None:  # the space says itself which ratios cut alike, without tracing each
            return Candidate(architecture, least(Candidate(architecture, plan), self.multiple))
        here = Candidate(architecture, plan)
        network = self.operations(here).segments if plan.prune else None
        for stage, _ in plan.prune:
            rest = {s: r for s, r in here.compression.prune if s != stage}
            fewer = Candidate(architecture, CompressionPlan.of(plan.precision, rest))
            if self.operations(fewer).segments == network:
                here = fewer
        return here

    def operations(self, candidate: Candidate) -> OpList:
        """Operations of a candidate."""
        return operations(self.space, candidate, self.task, multiple=self.multiple)

    def accepts(self, candidate: Candidate) -> bool:
        """Whether the architecture is a sensible network, and no stage loses more than is worth a try."""
        cut = all(ratio <= self.most_cut.get(stage, 1.0) for stage, ratio in candidate.compression.prune)
        return cut and self.space.accepts(candidate.architecture)

    def ratios(self, stage: str) -> tuple[float, ...]:
        """Shares of channels of a stage that are worth a try, ascending from 0."""
        return tuple(ratio for ratio in self.space.prune_ratios(stage) if ratio <= self.most_cut.get(stage, 1.0))

    def sample(self, rng: np.random.Generator) -> Candidate:
        """Architecture, precision and ratios drawn uniformly."""
        architecture = self.space.sample(rng)
        ratios = {stage: float(rng.choice(self.ratios(stage))) for stage in self.stages}
        precision = self.precisions[int(rng.integers(len(self.precisions)))]
        return self.canonical(Candidate(architecture, CompressionPlan.of(precision, ratios)))

    def mutate(self, candidate: Candidate, rng: np.random.Generator, n: int = 1) -> Candidate:
        """Change `n` choices to another of their options."""
        values, choices = self.values(candidate), [choice for choice in self.choices if len(choice.options) > 1]
        for index in rng.choice(len(choices), size=min(n, len(choices)), replace=False) if choices else []:
            choice = choices[int(index)]
            others = [option for option in choice.options if option != values[choice.label]]
            values[choice.label] = others[int(rng.integers(len(others)))]
        return self.candidate(values)

    def all(self, limit: int) -> Sequence[Candidate] | None:
        """Every accepted candidate once, or None if there are more than `limit` combinations."""
        count = 1
        for choice in self.choices:
            count *= len(choice.options)
        if count > limit:
            return None
        labels = [choice.label for choice in self.choices]
        found = (
            self.candidate(dict(zip(labels, values, strict=True)))
            for values in product(*[choice.options for choice in self.choices])
        )
        return [candidate for candidate in dict.fromkeys(found) if self.accepts(candidate)]
