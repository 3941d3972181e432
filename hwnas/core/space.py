"""A search space: named choices and a way to build the network that they describe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.core.architecture import Architecture, Value
from hwnas.core.candidate import Candidate
from hwnas.core.task import TaskLike
from hwnas.errors import ConfigError, InvalidArchitectureError

__all__ = ["PRUNE_RATIOS", "Choice", "SearchSpace"]

PRUNE_RATIOS = (0.0, 0.25, 0.5)

Build = Callable[[Architecture, TaskLike], Any]


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision of a search space.

    Attributes:
        label: its name in `Architecture`.
        options: the values it may take, cheapest first (supernet training takes the first of all as the smallest
            network and the last of all as the largest).
    """

    label: str
    options: tuple[Value, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or len(set(self.options)) != len(self.options):
            raise ConfigError(f"choice {self.label!r} needs one or more different options, got {self.options}")


class SearchSpace:
    """A plain search space: each candidate is built and trained alone.

    Args:
        name: how the space is named in files and on the command line.
        choices: the decisions; their labels must differ.
        build: `(architecture, task) -> torch.nn.Module` that takes a float tensor `n x task.input_shape` and gives
            `n x task.n_outputs` logits.
        input_shape: (channels, height, width) if the space is defined for one input only, else None.
        accepts: says whether an architecture is a sensible network; all are, if not given.
    Raises:
        ConfigError: no choices, or two with one label.
    """

    weight_shared = False
    # Options in the order of the numbers that published tables give them; none: tables name the options themselves.
    codes: tuple[Value, ...] = ()
    # Whether all candidates are made of one trained network, which they are compared with.
    of_one_network = False
    # Names the weights that a space is made of, where it is made of some.
    fingerprint = ""

    def __init__(
        self,
        name: str,
        choices: Sequence[Choice],
        build: Build,
        *,
        input_shape: tuple[int, ...] | None = None,
        accepts: Callable[[Mapping[str, Value]], bool] | None = None,
    ) -> None:
        labels = [choice.label for choice in choices]
        if not labels or len(set(labels)) != len(labels):
            raise ConfigError(f"space {name!r} needs choices with different labels, got {labels}")
        self.name = name
        self.choices = tuple(sorted(choices, key=lambda choice: choice.label))
        self.input_shape = input_shape
        self._build = build
        self._accepts = accepts

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.size:.3g} architectures)"

    @property
    def size(self) -> int:
        """Number of combinations of all options (an upper bound if `accepts` refuses some)."""
        return math.prod(len(choice.options) for choice in self.choices)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose channels can be pruned; none in a plain space."""
        return ()

    def segment_names(self, candidate: Candidate, *, multiple: int = 8) -> tuple[str, ...]:
        """For each segment of a candidate's operations, the name of its stage; none in a plain space."""
        return ()

    def prune_ratios(self, stage: str) -> tuple[float, ...]:
        """Shares of channels that a stage may lose, ascending from 0."""
        return PRUNE_RATIOS

    def for_task(self, task: TaskLike) -> SearchSpace:
        """The space with the options that fit the task's input; itself, if they do not depend on it."""
        return self

    def build(self, architecture: Architecture, task: TaskLike) -> Any:
        """Build the network with fresh weights (`torch.nn.Module`)."""
        self.check(architecture)
        return self._build(architecture, task)

    def architecture(self, values: Mapping[str, Value]) -> Architecture:
        """Make a checked architecture of this space from label -> value."""
        architecture = Architecture.of(self.name, values)
        self.check(architecture)
        return architecture

    def check(self, architecture: Architecture) -> None:
        """Raise InvalidArchitectureError unless every choice has one of its options."""
        if architecture.space != self.name:
            raise InvalidArchitectureError(
                f"architecture is of space {architecture.space!r}, not of {self.name!r}; pass the space it was made for"
            )
        known = {choice.label: choice.options for choice in self.choices}
        if missing := sorted(known.keys() ^ set(architecture)):
            raise InvalidArchitectureError(f"space {self.name!r}: labels {missing} are missing or unknown")
        for label, value in architecture.choices:
            if value not in known[label]:
                raise InvalidArchitectureError(f"{label!r} must be one of {known[label]}, got {value!r}")

    def accepts(self, values: Mapping[str, Value]) -> bool:
        """Whether the values are a sensible network (for example, one whose output depends on its input)."""
        return self._accepts is None or self._accepts(values)

    def canonical(self, architecture: Architecture) -> Architecture:
        """One architecture for all that are the same network; itself, if the space knows no such equality."""
        return architecture

    def sample(self, rng: np.random.Generator, *, max_attempts: int = 1000) -> Architecture:
        """Draw every choice uniformly, until `accepts` agrees.

        Raises:
            InvalidArchitectureError: none of `max_attempts` draws was accepted.
        """
        for _ in range(max_attempts):
            values = {c.label: c.options[int(rng.integers(len(c.options)))] for c in self.choices}
            if self.accepts(values):
                return Architecture.of(self.name, values)
        raise InvalidArchitectureError(f"space {self.name!r} accepted none of {max_attempts} random architectures")

    def smallest(self) -> Architecture:
        """The architecture of every first option."""
        return Architecture.of(self.name, {c.label: c.options[0] for c in self.choices})

    def largest(self) -> Architecture:
        """The architecture of every last option."""
        return Architecture.of(self.name, {c.label: c.options[-1] for c in self.choices})
