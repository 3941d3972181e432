from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.layers import ElasticConv2d
from hwnas.elastic.space import ElasticSpace, build_candidate
from hwnas.errors import BuildError, ConfigError, InvalidArchitectureError
from hwnas.trace import operations, trace_module

TASK = TaskShape((1, 8, 8), 4)


@dataclass(frozen=True)
class BiasFreeSpec:
    """One convolution and ReLU."""

    in_channels: int
    out_channels: int
    kernel: int

    def build(self) -> nn.Module:
        conv = nn.Conv2d(self.in_channels, self.out_channels, self.kernel, padding=self.kernel // 2, bias=False)
        return nn.Sequential(conv, nn.ReLU())


class ElasticBiasFree(ElasticBlock):
    """A block from outside: elastic kernel, fixed width."""

    def __init__(self, label: str, max_in: int, width: int) -> None:
        super().__init__()
        self.label, self.width, self.labels = label, width, (label,)
        self.choices = (Choice(label, (1, 3, 5)),)
        self.conv = ElasticConv2d(max_in, width, (1, 3, 5))

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        return BiasFreeSpec(channels, self.width, int(values[self.label]))

    def forward(self, x: Tensor, values: Values) -> Tensor:
        return torch.relu(self.conv(x, self.width, int(values[self.label])))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        module = spec.build()
        self.conv.copy_to(module[0], inputs, self.width)  # type: ignore[index]
        return module, torch.arange(self.width)


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    chain: list[ElasticBlock] = [ElasticConvBlock("stem", task.input_shape[0], (8, 16)), ElasticBiasFree("mix", 16, 12)]
    chain += [ElasticInvertedResidual("s", i, 12, (12,), (1, 2), kernels=(3, 5), expansions=(2, 4)) for i in range(2)]
    return [*chain, ElasticClassifier(12, task.n_outputs)]


THIRD = ElasticSpace("third", blocks)


def test_a_space_from_outside_is_a_space() -> None:
    space = THIRD.for_task(TASK)
    assert isinstance(space, SearchSpace)
    assert space.weight_shared
    assert [choice.label for choice in space.choices] == sorted(choice.label for choice in space.choices)
    assert space.size == 2 * 3 * 2 * 8**2
    assert space.stages == ("s",)
    net = THIRD.supernet(TASK)
    rng, x = np.random.default_rng(0), torch.randn(3, 1, 8, 8)
    for architecture in (space.smallest(), space.largest(), *[space.sample(rng) for _ in range(5)]):
        torch.testing.assert_close(net.extract(architecture).train()(x), net(x, dict(architecture)))
        foretold = operations(space, Candidate(architecture), TASK)
        traced = trace_module(space.build(architecture, TASK), TASK.input_shape)
        assert list(zip([op.kind for op in foretold], [op.params for op in foretold], strict=True)) == list(
            zip([op.kind for op in traced], [op.params for op in traced], strict=True)
        )


def test_binding_is_kept() -> None:
    one, two = THIRD.for_task(TASK), THIRD.for_task(TaskShape((3, 16, 16), 4))
    assert THIRD.for_task(TASK) is one
    assert two.for_task(TASK) is one
    assert one.for_task(one._task) is one
    assert THIRD.for_task(THIRD._task) is THIRD


def test_operations_are_for_the_bound_input() -> None:
    candidate = Candidate(THIRD.smallest())
    small, large = (operations(THIRD, candidate, TaskShape((1, side, side), 4)) for side in (8, 16))
    convolutions = [sum(op.macs for op in ops if len(op.output) == 3 and op.output[1] > 1) for ops in (small, large)]
    assert convolutions[1] == 4 * convolutions[0]


def test_choices_of_absent_blocks_take_their_first_option() -> None:
    space = THIRD.for_task(TASK)
    values = dict(space.largest()) | {"s.depth": 1}
    same = space.canonical(space.architecture(values))
    assert {label: same[label] for label in ("s.1.kernel", "s.1.expand", "s.1.se")} == {
        "s.1.kernel": 3,
        "s.1.expand": 2,
        "s.1.se": 0,
    }
    assert same["s.0.kernel"] == 5
    assert space.canonical(same) == same
    assert space.canonical(space.largest()) == space.largest()
    ops = [operations(space, Candidate(a), TASK).segments for a in (same, space.architecture(values))]
    assert ops[0] == ops[1]


def test_a_space_may_name_its_ends_and_its_equals() -> None:
    largest = {"mix": 3, **{c.label: c.options[-1] for c in THIRD.choices if c.label != "mix"}}
    smallest = {c.label: c.options[0] for c in THIRD.choices} | {"mix": 3}
    space = ElasticSpace(
        "third", blocks, largest=largest, smallest=smallest, canonical=lambda values: {**values, "stem": 8}
    ).for_task(TASK)
    assert space.largest()["mix"] == 3
    assert space.smallest()["mix"] == 3
    assert space.canonical(space.largest())["stem"] == 8


def test_a_space_of_one_input() -> None:
    space = ElasticSpace("fixed", blocks, input_shape=(1, 8, 8))
    assert space.for_task(TASK).input_shape == (1, 8, 8)
    with pytest.raises(ConfigError, match=r"defined for inputs of \(1, 8, 8\), got \(1, 9, 9\)"):
        space.for_task(TaskShape((1, 9, 9), 4))


def test_a_space_without_choices() -> None:
    with pytest.raises(ConfigError, match="needs choices"):
        ElasticSpace("empty", lambda task: [ElasticClassifier(3, task.n_outputs)])


def test_building_a_candidate() -> None:
    space = THIRD.for_task(TASK)
    plan = CompressionPlan.of("fp32", {"s": 0.5})
    module = build_candidate(space, Candidate(space.largest(), plan), TASK, multiple=4)
    assert not module.training
    foretold = operations(space, Candidate(space.largest(), plan), TASK, multiple=4)
    assert sum(p.numel() for p in module.parameters()) == foretold.params


@pytest.mark.parametrize(
    ("space", "values"), [("other", {}), ("third", {}), ("third", dict(THIRD.largest()) | {"mix": 4})]
)
def test_architectures_of_elsewhere(space: str, values: dict[str, int]) -> None:
    candidate = Candidate(Architecture.of(space, values))
    for call in (build_candidate, operations):
        with pytest.raises(InvalidArchitectureError):
            call(THIRD, candidate, TASK)


def test_a_plain_space_does_not_prune() -> None:
    plain = SearchSpace("p", [Choice("w", (1, 2))], lambda a, t: nn.Flatten())
    pruned = Candidate(plain.smallest(), CompressionPlan.of("fp32", {"s": 0.5}))
    with pytest.raises(InvalidArchitectureError, match="no stages to prune"):
        build_candidate(plain, pruned, TASK)


def test_a_build_that_raises() -> None:
    plain = SearchSpace("p", [Choice("w", (1, 2))], lambda a, t: {}["w"])
    with pytest.raises(BuildError, match="KeyError"):
        build_candidate(plain, Candidate(plain.smallest()), TASK)
