from __future__ import annotations

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from hwnas.search_spaces.fbnet import LABELS, OPERATIONS, SPACE

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.task import TaskShape
from hwnas.errors import ConfigError
from hwnas.plugins import load_plugin
from hwnas.trace import operations, trace_module

TASK = TaskShape((3, 32, 32), 100)
SPACE_100 = SPACE.for_task(TASK)
# The operations in the order of the published table, whose `op00` ... `op21` are places in it.
TABLE = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")


def some(count: int, seed: int = 0) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [SPACE_100.smallest(), SPACE_100.largest(), *[SPACE_100.sample(rng) for _ in range(count)]]


def test_it_is_installed() -> None:
    assert load_plugin("space", "fbnet") is SPACE
    assert SPACE.size == 9**22
    assert sorted(OPERATIONS) == sorted(TABLE)
    assert [choice.label for choice in SPACE.choices] == list(LABELS)


def closed_form(architecture: Architecture) -> tuple[int, int]:
    """Multiply-adds and parameters, written down from the paper's tables."""
    side, before = 32, 16
    macs, params = 27 * 16 * side**2, 27 * 16 + 2 * 16
    names = iter(LABELS)
    stages = zip((1, 4, 4, 4, 4, 4, 1), (16, 24, 32, 64, 112, 184, 352), (1, 1, 2, 2, 1, 2, 1), strict=True)
    for layers, width, first_stride in stages:
        for stride in (first_stride, *[1] * (layers - 1)):
            out, op = side // stride, str(architecture[next(names)])
            if op != "skip":
                kernel, expand, groups = int(op[1]), int(op[4]), 2 if op.endswith("_g2") else 1
                hidden = before * expand
                weights = (before * hidden // groups, hidden * kernel**2, hidden * width // groups)
                macs += weights[0] * side**2 + (weights[1] + weights[2]) * out**2
                params += sum(weights) + 2 * (2 * hidden + width)
            elif stride > 1 or before != width:
                macs, params = macs + before * width * out**2, params + before * width + 2 * width
            side, before = out, width
    macs, params = macs + 352 * 1504 * side**2, params + 352 * 1504 + 2 * 1504
    return macs + 1504 * 100, params + 1504 * 100 + 100


def test_counts_are_those_of_the_paper() -> None:
    for architecture in some(20):
        ops = operations(SPACE, Candidate(architecture), TASK)
        assert (ops.macs, ops.params) == closed_form(architecture)


@pytest.mark.parametrize("seed", [1, 2])
def test_counts_equal_fvcore(seed: int) -> None:
    architecture = some(1, seed)[-1]
    ops = operations(SPACE, Candidate(architecture), TASK)
    module = SPACE.build(architecture, TASK).eval()
    counter = FlopCountAnalysis(module, torch.zeros(1, 3, 32, 32)).unsupported_ops_warnings(False)
    counted = counter.uncalled_modules_warnings(False).by_operator()
    assert ops.macs == counted["conv"] + counted["linear"]
    assert ops.params == sum(parameter.numel() for parameter in module.parameters())


def test_operations_are_the_trace_of_the_network() -> None:
    for architecture in some(3):
        with torch.device("meta"):
            module = SPACE.build(architecture, TASK)
        traced = [
            (op.kind, op.inputs, op.output, op.groups, op.macs, op.params) for op in trace_module(module, (3, 32, 32))
        ]
        found = operations(SPACE, Candidate(architecture), TASK)
        assert [(op.kind, op.inputs, op.output, op.groups, op.macs, op.params) for op in found] == traced


def test_a_skip_is_nothing_where_the_shape_stays() -> None:
    network = SPACE.build(SPACE_100.smallest(), TASK)
    assert sum(isinstance(layer, torch.nn.Identity) for layer in network) == 1 + 5 * 3
    ops = operations(SPACE, Candidate(SPACE_100.smallest()), TASK)
    # Stem, the six layers that change the shape, head, classifier.
    assert [op.kind for op in ops if op.macs] == ["conv", *["pointwise"] * 7, "linear"]


def test_every_operation_counts() -> None:
    architectures = some(5)
    assert all(SPACE_100.canonical(architecture) == architecture for architecture in architectures)


def test_it_learns_on_small_images_and_subnets_answer_as_inside() -> None:
    task = TaskShape((3, 32, 32), 3)
    net, space = SPACE.supernet(task), SPACE.for_task(task)
    rng = np.random.default_rng(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    labels = torch.tensor([0, 1, 2, 0])
    small = torch.randn(4, 3, 16, 16)  # the last feature map is 2 pixels wide
    before = net(small, dict(space.largest())).detach()
    for architecture in (space.largest(), space.smallest(), space.sample(rng)):
        torch.nn.functional.cross_entropy(net(small, dict(architecture)), labels).backward()
    optimizer.step()
    assert not torch.equal(net(small, dict(space.largest())), before)
    with torch.no_grad():
        for architecture in (space.smallest(), space.sample(rng)):
            inside, outside = net(small, dict(architecture)), net.extract(architecture).train()(small)
            torch.testing.assert_close(outside, inside, rtol=1e-3, atol=1e-4)


def test_another_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="defined for inputs of"):
        SPACE.for_task(TaskShape((3, 224, 224), 10))
