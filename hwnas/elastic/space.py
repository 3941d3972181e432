"""A weight-shared search space: it is written as a supernet, and its choices are collected from the layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import nn

from hwnas.core.architecture import Architecture, Value
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.ops import OpList
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.supernet import Supernet
from hwnas.errors import ConfigError, InvalidArchitectureError
from hwnas.trace import checked_build

__all__ = ["ElasticSpace", "build_candidate"]

Blocks = Callable[[TaskLike], Sequence[ElasticBlock]]


class ElasticSpace(SearchSpace):
    """A space that is its own supernet.

    Args:
        name: how the space is named in files and on the command line.
        blocks: `task -> elastic blocks`, the supernet's chain for the task's input and number of outputs.
        input_shape: (channels, height, width) if the space is published for one input only, else None.
        default: the task that `choices` are shown for before one is known.
        accepts: says whether an architecture is a sensible network; all are, if not given.
        smallest: the cheapest sensible architecture, if it is not the one of every first option.
        largest: the architecture that teaches the others while the supernet is trained, if it is not the one of every
            last option.
        canonical: gives one set of values for all that are the same function.
        codes: options in the order of the numbers that published tables give them, if they do.
    Raises:
        ConfigError: the blocks offer no choice.
    """

    weight_shared = True

    def __init__(
        self,
        name: str,
        blocks: Blocks,
        *,
        input_shape: tuple[int, ...] | None = None,
        default: TaskShape = TaskShape((3, 32, 32), 10),  # noqa: B008 - it is frozen
        accepts: Callable[[Mapping[str, Value]], bool] | None = None,
        smallest: Mapping[str, Value] | None = None,
        largest: Mapping[str, Value] | None = None,
        canonical: Callable[[Mapping[str, Value]], Mapping[str, Value]] | None = None,
        codes: Sequence[Value] = (),
    ) -> None:
        self._canonical, self.codes = canonical, tuple(codes)
        self._blocks, self._smallest, self._largest = blocks, smallest, largest
        self._task = default if input_shape is None else TaskShape(input_shape, 10)
        self._bound: dict[TaskShape, ElasticSpace] = {}
        with torch.device("meta"):
            self._outline = Supernet(blocks(self._task), self._task.input_shape)
        super().__init__(name, self._outline.choices, self._build_fresh, input_shape=input_shape, accepts=accepts)

    @property
    def example(self) -> TaskShape:
        """The task that `choices` are shown for."""
        return self._task

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose channels can be pruned."""
        return self._outline.stages

    def for_task(self, task: TaskLike) -> ElasticSpace:
        """The space with the options that fit the task's input.

        Raises:
            ConfigError: the space is defined for one input only, and the task has another.
        """
        shape = TaskShape.of(task)
        if shape == self._task:
            return self
        if self.input_shape is not None and shape.input_shape != self.input_shape:
            raise ConfigError(
                f"space {self.name!r} is defined for inputs of {self.input_shape}, got {shape.input_shape}; "
                "load the task with that input shape, or choose another --space"
            )
        if shape not in self._bound:
            self._bound[shape] = self._rebound(shape)
        return self._bound[shape]

    def _rebound(self, shape: TaskShape) -> ElasticSpace:
        bound = ElasticSpace.__new__(ElasticSpace)
        bound._blocks, bound._smallest, bound._largest = self._blocks, self._smallest, self._largest
        bound._task, bound._bound, bound._canonical = shape, self._bound, self._canonical
        bound.codes = self.codes
        with torch.device("meta"):
            bound._outline = Supernet(self._blocks(shape), shape.input_shape)
        SearchSpace.__init__(
            bound,
            self.name,
            bound._outline.choices,
            bound._build_fresh,
            input_shape=self.input_shape,
            accepts=self._accepts,
        )
        return bound

    def supernet(self, task: TaskLike) -> Supernet:
        """A supernet with fresh weights for the task."""
        bound = self.for_task(task)
        return Supernet(self._blocks(bound._task), bound._task.input_shape)

    def smallest(self) -> Architecture:
        """The cheapest sensible architecture."""
        return super().smallest() if self._smallest is None else self.architecture(self._smallest)

    def largest(self) -> Architecture:
        """The architecture that teaches the others."""
        return super().largest() if self._largest is None else self.architecture(self._largest)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Choices that no active block reads take their first option; then the space's own rule is applied."""
        values = dict(architecture.choices)
        if self._canonical is not None:
            values |= self._canonical(values)
        used = self._outline.used_labels(values)
        for choice in self.choices:
            if choice.label not in used:
                values[choice.label] = choice.options[0]
        return Architecture.of(self.name, values)

    def operations(self, candidate: Candidate, *, multiple: int = 8) -> OpList:
        """Operations of a candidate for the input that the space is bound to."""
        self.check(candidate.architecture)
        return self._outline.operations(dict(candidate.architecture.choices), candidate.compression, multiple)

    def segment_names(self, candidate: Candidate, *, multiple: int = 8) -> tuple[str, ...]:
        """For each segment of `operations`, the name of its stage."""
        values = dict(candidate.architecture.choices)
        return self._outline.segment_names(values, candidate.compression, multiple)

    def _build_fresh(self, architecture: Architecture, task: TaskLike) -> nn.Module:
        bound = self.for_task(task)
        bound.check(architecture)
        return bound._outline.fresh(dict(architecture), CompressionPlan())


def build_candidate(space: SearchSpace, candidate: Candidate, task: TaskLike, *, multiple: int = 8) -> nn.Module:
    """Build a candidate of any space with fresh weights, pruning applied, in eval mode: for measuring latency.

    Raises:
        BuildError: the space's `build` raised.
        InvalidArchitectureError: the plan prunes, but the space has no stages to prune.
    """
    if isinstance(space, ElasticSpace):
        bound = space.for_task(task)
        bound.check(candidate.architecture)
        return bound._outline.fresh(dict(candidate.architecture), candidate.compression, multiple).eval()
    fresh = getattr(space, "fresh", None)
    if fresh is not None:
        return cast(nn.Module, fresh(candidate, multiple))
    if candidate.compression.prune:
        raise InvalidArchitectureError(f"space {space.name!r} has no stages to prune; drop `prune` from the plan")
    return checked_build(space, candidate, task).eval()
