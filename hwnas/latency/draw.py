"""Which networks of a space are worth measuring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskLike
from hwnas.latency.known import known_predictors
from hwnas.latency.transfer import FEW, choose_networks
from hwnas.trace import operations

__all__ = ["choose_candidates", "draw_candidates"]

MOST_SMALL = 0.9  # share of choices that a network drawn towards the smallest takes from it, at most
_POOL = 400  # networks of a space that a few are chosen from


def draw_candidates(
    space: SearchSpace, precisions: Sequence[str], count: int, *, rng: np.random.Generator
) -> list[Candidate]:
    """Networks that span a space: smallest, largest, smallest and pruned, then random ones, every other pruned.

    Every other pair of these is drawn towards the smallest network: a random share of its choices is. Fronts lie at the
    fast end, where a plain draw has next to nothing, and a predictor that errs there errs where it is believed. Where
    all are made of one network, that is the first, and all others are pruned, towards the fast end by ratios as well.

    Args:
        space: bound to the task.
        count: of each precision.
    """
    drawn = []
    for number in range(count):
        for precision in precisions:
            one = space.of_one_network
            ends = (space.largest,) * 2 + (space.smallest,) if one else (space.smallest, space.largest, space.smallest)
            fixed = ends[number]() if number < len(ends) else None
            is_whole = number == 0 if one else number % 2 or number == 0
            ratios = {} if is_whole else _ratios(space, number // 2 % 2 if one else 0, rng)
            if number == 2:  # the least work that the space has
                ratios = {stage: space.prune_ratios(stage)[-1] for stage in space.stages}
            drawn.append(Candidate(fixed or _draw(space, number // 2 % 2, rng), CompressionPlan.of(precision, ratios)))
    return drawn


def _ratios(space: SearchSpace, small: int, rng: np.random.Generator) -> dict[str, float]:
    options = {stage: space.prune_ratios(stage) for stage in space.stages}
    ratios = {stage: of[int(rng.integers(len(of)))] for stage, of in options.items()}
    if not small:
        return ratios
    share = MOST_SMALL * rng.random()
    return {stage: options[stage][-1] if rng.random() < share else ratio for stage, ratio in ratios.items()}


def _draw(space: SearchSpace, small: int, rng: np.random.Generator) -> Architecture:
    architecture = space.sample(rng)
    if not small:
        return architecture
    least, share = space.smallest(), MOST_SMALL * rng.random()
    return space.architecture(
        {key: least[key] if rng.random() < share else value for key, value in architecture.items()}
    )


def choose_candidates(
    space: SearchSpace,
    task: TaskLike,
    device: Device,
    precisions: Sequence[str],
    count: int,
    *,
    rng: np.random.Generator,
) -> list[Candidate]:
    """Networks worth measuring: those that, once measured, leave the least doubt of the others of the space.

    Args:
        space: bound to the task.
        count: of each precision; beyond `FEW` they are drawn, because a choice gains nothing any more.
    """
    if count > FEW:
        return draw_candidates(space, precisions, count, rng=rng)
    known = known_predictors(device, (space.name,), None)
    pool = draw_candidates(space, precisions[:1], max(_POOL, 4 * count), rng=rng)
    networks = [operations(space, candidate, task, multiple=device.channel_multiple) for candidate in pool]
    chosen = [pool[at] for at in choose_networks(networks, count, sources=known)]
    return [
        Candidate(c.architecture, CompressionPlan.of(precision, dict(c.compression.prune)))
        for c in chosen
        for precision in precisions
    ]
