"""Parameters of Optuna trials: as numbers, drawn, and changed a little."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

__all__ = ["Encoding", "Params", "Space", "changed", "draw"]

Params = Mapping[str, Any]
Space = dict[str, BaseDistribution]


class Encoding:
    """Numbers for parameters: ordered ones as they are (logarithmic ones as logarithms), others one-hot.

    Args:
        space: their distributions.
    """

    def __init__(self, space: Space) -> None:
        self._columns = [(name, _numbers_of(distribution)) for name, distribution in space.items()]

    def __call__(self, several: Sequence[Params]) -> NDArray[np.float64]:
        """`n x columns`."""
        rows = [[number for name, numbers in self._columns for number in numbers(one[name])] for one in several]
        return np.array(rows, dtype=float).reshape(len(several), -1)


def _numbers_of(distribution: BaseDistribution) -> Callable[[Any], Sequence[float]]:
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        if all(isinstance(choice, int | float) for choice in choices):
            return lambda value: (float(value),)
        return lambda value: [float(value == choice) for choice in choices]
    if getattr(distribution, "log", False):
        return lambda value: (math.log(value),)
    return lambda value: (float(value),)


def draw(space: Space, n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Parameters of `n` trials, drawn uniformly (log-uniformly where the distribution is)."""
    columns = [_draw(distribution, n, rng) for distribution in space.values()]
    return [dict(zip(space, row, strict=True)) for row in zip(*columns, strict=True)]


def _draw(distribution: BaseDistribution, n: int, rng: np.random.Generator) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return [distribution.choices[at] for at in rng.integers(len(distribution.choices), size=n)]
    if isinstance(distribution, IntDistribution):
        steps = (distribution.high - distribution.low) // distribution.step
        return [distribution.low + distribution.step * int(at) for at in rng.integers(steps + 1, size=n)]
    assert isinstance(distribution, FloatDistribution)
    if distribution.log:
        return [math.exp(at) for at in rng.uniform(math.log(distribution.low), math.log(distribution.high), size=n)]
    return [float(at) for at in rng.uniform(distribution.low, distribution.high, size=n)]


def changed(start: Params, drawn: Params, rng: np.random.Generator) -> Params:
    """`start` with one to three of its parameters as drawn."""
    names = [name for name in drawn if drawn[name] != start[name]]
    chosen = rng.permutation(len(names))[: int(rng.integers(1, 4))]
    return {**{name: start[name] for name in drawn}, **{names[at]: drawn[names[at]] for at in chosen}}
