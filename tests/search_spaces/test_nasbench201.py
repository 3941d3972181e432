from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hwnas.search_spaces.nasbench201 import EDGES, LABELS, OPERATIONS, SPACE, CellSpec, accepts, canonical, live_edges

from hwnas.core.candidate import Candidate
from hwnas.core.ops import Op
from hwnas.core.task import TaskShape
from hwnas.errors import ConfigError
from hwnas.plugins import load_plugin
from hwnas.trace import operations, trace_block

TASK = TaskShape((3, 32, 32), 10)
TABLE = Path(__file__).parents[2] / "../shared/data/nasbench201/archs.parquet"
CODES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
CELLS = [dict(zip(LABELS, ops, strict=True)) for ops in itertools.product(OPERATIONS, repeat=6)]


def benchmark_flops(op: Op) -> int:
    """What the benchmark's own counter adds for an operation."""
    elements = math.prod(op.output)
    if op.kind == "norm":
        return 2 * elements
    if op.kind == "activation":
        return elements
    if op.kind == "pool":
        return math.prod(op.kernel) * elements
    return 81 * 64 if op.kind == "reduce" else op.macs


def test_it_is_installed() -> None:
    assert load_plugin("space", "nasbench201") is SPACE
    assert SPACE.size == len(CELLS) == 15_625


def test_counts_equal_the_published_table() -> None:
    if not TABLE.exists():
        pytest.skip("the table of NAS-Bench-201 is not here")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(TABLE).take(np.random.default_rng(0).choice(15_625, 300, replace=False)).to_pylist()
    for row in rows:
        architecture = SPACE.architecture({label: CODES[row[label]] for label in LABELS})
        ops = operations(SPACE, Candidate(architecture), TASK)
        # The table holds both in millions, as 32-bit floats.
        assert ops.params == round(row["params_M_cifar10"] * 1e6), row["arch_str"]
        assert abs(sum(map(benchmark_flops, ops)) / 1e6 - row["flops_M_cifar10"]) < 1.1e-4, row["arch_str"]


def slow_is_useful(values: dict[str, str]) -> bool:
    """By all four paths from node 0 to node 3."""
    paths = (("e03",), ("e01", "e13"), ("e02", "e23"), ("e01", "e12", "e23"))
    return any(all(values[label] != "none" for label in path) for path in paths)


def test_cells_whose_output_is_constant_are_refused() -> None:
    refused = [values for values in CELLS if not accepts(values)]
    assert len(refused) == 341
    assert all(accepts(values) == slow_is_useful(values) for values in CELLS)


def test_the_canonical_cell_is_the_same_function() -> None:
    rng = np.random.default_rng(3)
    x = torch.randn(2, 4, 5, 5)
    changed = 0
    for number in rng.choice(len(CELLS), 200, replace=False):
        values = CELLS[number]
        if not accepts(values):
            continue
        less = {label: str(value) for label, value in canonical(values).items()}
        assert canonical(less) == less
        changed += less != values
        networks = []
        for cell in (values, less):
            module = CellSpec(tuple(cell[label] for label in LABELS), 4).build().eval()
            for edge in module.edges:  # type: ignore[union-attr]
                for parameter in edge.parameters():
                    if parameter.ndim > 1:  # what a dead edge adds is a constant, here 0 as in a fresh batch norm
                        torch.nn.init.constant_(parameter, 0.1)
            networks.append(module(x))
        torch.testing.assert_close(networks[0], networks[1])
    assert changed > 10


@pytest.mark.parametrize("seed", range(25))
def test_the_closed_form_of_a_cell_is_its_trace(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ops = tuple(OPERATIONS[int(code)] for code in rng.integers(0, 5, 6))
    spec = CellSpec(ops, int(rng.choice([8, 16])))
    shape = (spec.out_channels, 6, 6)
    traced, out = trace_block(spec.build(), shape)
    parts, closed_out = spec.segments(shape)
    assert closed_out == out
    assert tuple(op for part in parts for op in part.ops) == traced


def test_dead_operations_are_those_of_dead_edges() -> None:
    for number in np.random.default_rng(5).choice(len(CELLS), 60, replace=False):
        ops = tuple(CELLS[number][label] for label in LABELS)
        parts, _ = CellSpec(ops, 16).segments((16, 8, 8))
        alive = [op for op, live in zip(ops, live_edges(ops), strict=True) if live]
        found = [op.kind for op in parts[0].ops if op.live]
        assert found.count("conv") == alive.count("nor_conv_3x3")
        assert found.count("pointwise") == alive.count("nor_conv_1x1")
        assert found.count("pool") == alive.count("avg_pool_3x3")


def test_the_skeleton() -> None:
    assert len(EDGES) == 6
    network = SPACE.build(SPACE.largest(), TASK)
    assert len(network) == 1 + 5 + 1 + 5 + 1 + 5 + 2
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert SPACE.stages == ("s1", "s2", "s3")


def test_another_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="defined for inputs of"):
        SPACE.for_task(TaskShape((1, 28, 28), 10))
