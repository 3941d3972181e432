from __future__ import annotations

import numpy as np
import pytest
import torch
from hwnas.search_spaces import mobilenet, resnet

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import TaskShape
from hwnas.elastic.space import ElasticSpace
from hwnas.errors import ConfigError
from hwnas.plugins import load_plugin
from hwnas.trace import operations

SPACES = pytest.mark.parametrize("space", [mobilenet.SPACE, resnet.SPACE], ids=["mobilenet", "resnet"])
SHAPES = [(channels, side, side) for channels in (1, 3) for side in (8, 16, 28, 32, 64, 96, 160, 224)]


@SPACES
def test_it_is_installed(space: ElasticSpace) -> None:
    assert load_plugin("space", space.name) is space


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@SPACES
def test_every_input_has_more_than_a_billion_architectures(space: ElasticSpace, shape: tuple[int, ...]) -> None:
    assert space.for_task(TaskShape(shape, 10)).size > 1e9


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@SPACES
def test_the_ends_and_the_middle_can_be_described(space: ElasticSpace, shape: tuple[int, ...]) -> None:
    task = TaskShape(shape, 6)
    space = space.for_task(task)
    ends = [operations(space, Candidate(a), task).macs for a in (space.smallest(), space.largest())]
    assert ends[0] < ends[1] / 4
    rng = np.random.default_rng(0)
    for _ in range(5):
        ops = operations(space, Candidate(space.sample(rng)), task)
        assert ops[-1].output == (6,)
        assert ends[0] <= ops.macs <= ends[1]
        # The mean before the classifier sees 2 to 7 pixels a side, fewer where the network scales its input down.
        last = [op.inputs[0] for op in ops if op.kind == "reduce"][-1]
        assert 1 <= last[1] <= 7


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)], ids=str)
@SPACES
def test_a_network_runs_on_what_it_was_made_for(space: ElasticSpace, shape: tuple[int, ...]) -> None:
    task = TaskShape(shape, 4)
    space = space.for_task(task)
    for architecture in (space.smallest(), space.largest(), space.sample(np.random.default_rng(1))):
        assert space.build(architecture, task).eval()(torch.zeros(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize("shape", [(2, 32, 32), (3, 32, 40), (3, 7, 7), (1, 256, 256)], ids=str)
@SPACES
def test_other_inputs_are_refused(space: ElasticSpace, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="squares of 8 to 224"):
        space.for_task(TaskShape(shape, 10))


@SPACES
def test_resolutions_are_half_to_full(space: ElasticSpace) -> None:
    for side in (8, 28, 32, 96, 224):
        bound = space.for_task(TaskShape((3, side, side), 10))
        (sizes,) = [choice.options for choice in bound.choices if choice.label == "resolution"]
        assert sizes[-1] == side
        assert all(size >= min(8, side) and 2 * size >= side - 8 for size in sizes)  # type: ignore[operator]


@SPACES
def test_pruning_makes_every_stage_smaller(space: ElasticSpace) -> None:
    task = TaskShape((3, 32, 32), 10)
    space = space.for_task(task)
    whole = operations(space, Candidate(space.largest()), task)
    for stage in space.stages:
        cut = Candidate(space.largest(), CompressionPlan.of("fp32", {stage: 0.5}))
        pruned = operations(space, cut, task)
        assert pruned.macs < whole.macs
        assert pruned.params < whole.params
