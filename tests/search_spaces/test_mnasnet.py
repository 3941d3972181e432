from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from hwnas.search_spaces.mnasnet import SPACE

from hwnas.core.candidate import Candidate
from hwnas.core.ops import OpList
from hwnas.core.task import TaskShape
from hwnas.errors import ConfigError
from hwnas.plugins import load_plugin
from hwnas.trace import operations, trace_module

SHAPE = (3, 224, 224)
TASK = TaskShape(SHAPE, 1000)
IMAGENET = SPACE.for_task(TASK)
TABLE = Path(__file__).parents[2] / "../shared/data/mnasnet/measurements.parquet"


def table_macs(ops: OpList) -> int:
    """What the counter of the table's authors (thop) adds: 4 a batch-norm element, window and division of each mean."""
    norms = sum(4 * math.prod(op.output) for op in ops if op.kind == "norm")
    means = sum(math.prod(op.inputs[0]) + op.inputs[0][0] for op in ops if op.kind == "reduce")
    return ops.macs + norms + means


def test_it_is_installed() -> None:
    assert load_plugin("space", "mnasnet") is SPACE
    assert SPACE.size == (3 * 2 * 3 * 2) ** 6 * (3 * 2 * 4 * 2)


def test_counts_equal_the_published_table() -> None:
    if not TABLE.exists():
        pytest.skip("the table of Accel-NASBench is not here")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(TABLE).take(np.random.default_rng(0).choice(5138, 400, replace=False)).to_pylist()
    for row in rows:
        architecture = IMAGENET.architecture({choice.label: row[choice.label] for choice in SPACE.choices})
        ops = operations(SPACE, Candidate(architecture), TASK)
        assert ops.params == round(row["params_M"] * 1e6), row["id"]
        assert table_macs(ops) == round(row["macs_M"] * 1e6), row["id"]


def test_the_first_network_of_the_paper() -> None:
    """EfficientNet-B0 is in the space: 5.29 million parameters, 0.39 billion multiply-adds (Tan and Le, ICML 2019)."""
    settings = zip((1, 6, 6, 6, 6, 6, 6), (3, 3, 5, 3, 5, 5, 3), (1, 2, 2, 3, 3, 4, 1), strict=True)
    values = {
        f"b{number}_{name}": value
        for number, (e, k, layers) in enumerate(settings)
        for name, value in (("e", e), ("k", k), ("l", layers), ("se", 1))
    }
    ops = operations(SPACE, Candidate(IMAGENET.architecture(values)), TASK)
    assert ops.params == 5_288_548
    assert ops.macs == pytest.approx(0.39e9, rel=0.02)


def test_counts_equal_fvcore() -> None:
    architecture = IMAGENET.sample(np.random.default_rng(5))
    ops = operations(SPACE, Candidate(architecture), TASK)
    module = SPACE.build(architecture, TASK).eval()
    counter = FlopCountAnalysis(module, torch.zeros(1, *SHAPE)).unsupported_ops_warnings(False)
    counted = counter.uncalled_modules_warnings(False).by_operator()
    assert ops.macs == counted["conv"] + counted["linear"]
    assert ops.params == sum(parameter.numel() for parameter in module.parameters())


def test_operations_are_the_trace_of_the_network() -> None:
    rng = np.random.default_rng(1)
    for architecture in (IMAGENET.smallest(), IMAGENET.largest(), IMAGENET.sample(rng)):
        with torch.device("meta"):
            module = SPACE.build(architecture, TASK)
        found = operations(SPACE, Candidate(architecture), TASK)
        assert [(op.kind, op.inputs, op.output, op.macs, op.params, op.detail) for op in found] == [
            (op.kind, op.inputs, op.output, op.macs, op.params, op.detail) for op in trace_module(module, SHAPE)
        ]


def test_every_choice_counts() -> None:
    # A stage's choices are shared by its layers, and each stage has one at least.
    rng = np.random.default_rng(2)
    for _ in range(5):
        architecture = IMAGENET.sample(rng)
        assert IMAGENET.canonical(architecture) == architecture


def test_it_learns_on_small_images_and_subnets_answer_as_inside() -> None:
    task = TaskShape(SHAPE, 3)
    net, space = SPACE.supernet(task), SPACE.for_task(task)
    rng = np.random.default_rng(0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    labels = torch.tensor([0, 1, 2, 0])
    small = torch.randn(4, 3, 64, 64)  # the last feature map is 2 pixels wide
    before = net(small, dict(space.largest())).detach()
    for architecture in (space.largest(), space.smallest(), space.sample(rng)):
        torch.nn.functional.cross_entropy(net(small, dict(architecture)), labels).backward()
    optimizer.step()
    assert not torch.equal(net(small, dict(space.largest())), before)
    with torch.no_grad():
        for architecture in (space.smallest(), space.sample(rng)):
            inside, outside = net(small, dict(architecture)), net.extract(architecture).train()(small)
            torch.testing.assert_close(outside, inside, rtol=1e-3, atol=1e-4)
        tiny = torch.randn(4, 3, 32, 32)  # the smallest images that a search trains on
        assert net(tiny, dict(space.smallest())).shape == (4, 3)


def test_another_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="defined for inputs of"):
        SPACE.for_task(TaskShape((3, 32, 32), 10))
