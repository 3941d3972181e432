from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET
from hwnas.search_spaces.nasbench201 import SPACE as NASBENCH201
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.ops import Op
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskShape
from hwnas.elastic.space import ElasticSpace, build_candidate
from hwnas.errors import BuildError
from hwnas.trace import operations, trace_block, trace_module

COUNTED = ("conv", "linear", "addmm")


class Call(nn.Module):
    """A function as a module, with some layers of its own."""

    def __init__(self, function: Callable[..., object], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x: Tensor) -> object:
        return self.function(x, *self.layers)


def kinds(module: nn.Module, *shape: int) -> list[str]:
    return [op.kind for op in trace_module(module, shape)]


def fvcore_macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    analysis = FlopCountAnalysis(module.eval(), torch.zeros(1, *shape))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(sum(value for name, value in analysis.by_operator().items() if name in COUNTED))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (MOBILENET, (1, 8, 8)),
        (MOBILENET, (1, 28, 28)),
        (MOBILENET, (3, 32, 32)),
        (MOBILENET, (3, 96, 96)),
        (NASBENCH201, (3, 32, 32)),
    ],
)
def test_counts_equal_fvcore(space: ElasticSpace, shape: tuple[int, ...], seed: int) -> None:
    task = TaskShape(shape, 7)
    bound = space.for_task(task)
    # The canonical form has no operation without effect; fvcore does not see those.
    candidate = Candidate(bound.canonical(bound.sample(np.random.default_rng(seed))))
    module = build_candidate(space, candidate, task)
    fast, traced = operations(space, candidate, task), trace_module(module, shape)
    assert fast.macs == traced.macs == fvcore_macs(module, shape)
    assert fast.params == traced.params == parameter_count(module)[""]
    assert [(op.kind, op.inputs, op.output, op.macs) for op in fast] == [
        (op.kind, op.inputs, op.output, op.macs) for op in traced
    ]


@pytest.mark.parametrize(
    ("layer", "shape", "kind", "macs", "params"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), "conv", 3 * 8 * 9 * 120, 3 * 8 * 9 + 8),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), (3, 10, 12), "conv", 3 * 8 * 9 * 30, 3 * 8 * 9),
        (nn.Conv2d(6, 4, 1), (6, 5, 5), "pointwise", 6 * 4 * 25, 6 * 4 + 4),
        (nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False), (6, 5, 5), "depthwise", 6 * 25 * 25, 6 * 25),
        (nn.Conv2d(6, 4, 3, padding=1, groups=2, bias=False), (6, 5, 5), "grouped", 3 * 4 * 9 * 25, 3 * 4 * 9),
        (nn.ConvTranspose2d(3, 5, 2, stride=2, bias=False), (3, 4, 4), "conv", 3 * 5 * 4 * 16, 3 * 5 * 4),
        (nn.Conv1d(4, 6, 3, padding=1), (4, 20), "conv", 4 * 6 * 3 * 20, 4 * 6 * 3 + 6),
        (nn.Linear(10, 4), (10,), "linear", 40, 44),
        (nn.Linear(10, 4, bias=False), (5, 10), "linear", 200, 40),
        (nn.AvgPool2d(2), (3, 8, 8), "pool", 0, 0),
        (nn.MaxPool2d(3, 2), (3, 9, 9), "pool", 0, 0),
        (nn.AdaptiveAvgPool2d(1), (3, 9, 9), "reduce", 0, 0),
        (nn.BatchNorm2d(3), (3, 9, 9), "norm", 0, 6),
        (nn.LayerNorm(9), (3, 9), "norm", 0, 18),
        (nn.GELU(), (3, 9), "activation", 0, 0),
        (nn.Softmax(-1), (3, 9), "softmax", 0, 0),
        (nn.Upsample(scale_factor=2, mode="bilinear"), (3, 4, 4), "resize", 0, 0),
    ],
)
def test_one_layer(layer: nn.Module, shape: tuple[int, ...], kind: str, macs: int, params: int) -> None:
    (op,) = trace_module(layer, shape)
    assert (op.kind, op.macs, op.params, op.live) == (kind, macs, params, True)
    assert op.inputs == (shape,)
    assert op.reads == (-1,)
    assert op.output == tuple(layer.eval()(torch.zeros(1, *shape)).shape[1:])


def test_pools_keep_their_window() -> None:
    (op,) = trace_module(nn.AvgPool2d(3, 1, 1), (4, 8, 8))
    assert (op.kernel, op.stride) == ((3, 3), (1, 1))
    (op,) = trace_module(nn.MaxPool2d(2), (4, 8, 8))
    assert (op.kernel, op.stride) == ((2, 2), (2, 2))


def test_views_are_left_out() -> None:
    def forward(x: Tensor, linear: nn.Module) -> Tensor:
        return linear(x.flatten(1).unsqueeze(1).transpose(1, 2).squeeze(2)).view(-1, 2, 2).reshape(-1, 4)

    ops = trace_module(Call(forward, nn.Linear(12, 4)), (3, 2, 2))
    assert [op.kind for op in ops] == ["linear"]
    assert ops[0].reads == (-1,)  # through the views


def test_reads_name_the_writer() -> None:
    def forward(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
        y = first(x)
        return torch.cat([F.relu(y) + y, second(x) + x], 1)

    ops = trace_module(Call(forward, nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)), (4, 6, 6))
    assert [op.kind for op in ops] == ["pointwise", "activation", "elementwise", "conv", "elementwise", "concat"]
    assert [op.reads for op in ops] == [(-1,), (0,), (1, 0), (-1,), (3, -1), (2, 4)]
    assert all(op.live for op in ops)


def test_dead_operations_are_marked() -> None:
    def forward(x: Tensor, unused: nn.Module, blind: nn.Module, used: nn.Module) -> Tensor:
        F.relu(unused(x))  # nobody reads it
        return used(x) + blind(torch.zeros_like(x))  # the second does not depend on the input

    layers = [nn.Conv2d(2, 2, 1) for _ in range(3)]
    ops = trace_module(Call(forward, *layers), (2, 3, 3))
    assert [(op.kind, op.live) for op in ops] == [
        ("pointwise", False),
        ("activation", False),
        ("pointwise", True),
        ("pointwise", False),
        ("elementwise", True),
    ]
    assert ops[3].reads == (-2,)


def test_a_shared_parameter_counts_once() -> None:
    layer = nn.Linear(5, 5)
    ops = trace_module(nn.Sequential(layer, nn.ReLU(), layer), (5,))
    assert [op.params for op in ops] == [30, 0, 0]
    assert ops.macs == 50


def test_a_view_of_a_parameter_is_that_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 5))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.t() @ self.weight

    ops = trace_module(Tied(), (5,))
    assert [op.kind for op in ops] == ["linear", "linear"]
    assert ops.params == 15
    assert ops.macs == 2 * 15


@pytest.mark.parametrize(("heads", "length", "depth"), [(1, 10, 8), (4, 17, 6)])
def test_attention_is_counted(heads: int, length: int, depth: int) -> None:
    module = Call(lambda x: F.scaled_dot_product_attention(x, x, x))
    ops = trace_module(module, (heads, length, depth))
    assert sum(op.macs for op in ops if op.kind == "matmul") == 2 * heads * length * length * depth
    assert sum(op.kind == "softmax" for op in ops) == 1
    scores = heads * length * length
    assert {math.prod(op.output) for op in ops if op.kind == "matmul"} == {scores, heads * length * depth}


def test_a_transformer_layer_is_counted() -> None:
    length, width, hidden = 12, 16, 32
    layer = nn.TransformerEncoderLayer(width, 4, hidden, batch_first=True)
    ops = trace_module(layer, (length, width))
    weights = 4 * width * width + 2 * width * hidden
    assert ops.macs == weights * length + 2 * length * length * width
    assert ops.params == parameter_count(layer)[""]
    assert not [op.detail for op in ops if op.kind == "other"]


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trace_module(module, (1, 5, 5))
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_unknown_operations_keep_their_name() -> None:
    (op,) = trace_module(Call(lambda x: torch.cumsum(x, 1)), (4,))
    assert (op.kind, op.detail) == ("other", "cumsum")


@pytest.mark.parametrize(
    ("module", "shape", "said"),
    [
        (nn.Conv2d(3, 4, 3), (1, 8, 8), "does not run on an input of shape (1, 8, 8)"),
        (nn.Conv2d(1, 4, 9), (1, 8, 8), "does not run"),
        (nn.Linear(4, 2), (5,), "does not run"),
        (Call(lambda x: (x, x)), (3,), "must give one tensor, got tuple"),
        (Call(lambda x: None), (3,), "must give one tensor, got NoneType"),
        (Call(lambda x: x.no_such_thing), (3,), "no_such_thing"),
        (Call(lambda x: {}["absent"]), (3,), "absent"),
        (Call(lambda x: x if x.sum().item() > 0 else -x), (3,), "does not run"),
    ],
)
def test_a_wrong_module(module: nn.Module, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(BuildError) as caught:
        trace_block(module, shape)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def plain(build: Callable[..., object]) -> SearchSpace:
    return SearchSpace("plain", [Choice("width", (4, 8))], build)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda a, t: 1 / 0, "ZeroDivisionError"),
        (lambda a, t: "a network", "must return nn.Module, got str"),
        (lambda a, t: nn.Flatten(), "(n, 10), got (n, 64)"),
        (lambda a, t: nn.Linear(3, 10), "does not run on an input of shape (1, 8, 8)"),
    ],
)
def test_a_wrong_space_names_the_architecture(build: Callable[..., object], said: str) -> None:
    candidate = Candidate(Architecture.of("plain", {"width": 8}))
    with pytest.raises(BuildError) as caught:
        operations(plain(build), candidate, TaskShape((1, 8, 8), 10))
    assert said in str(caught.value)
    assert "{'width': 8}" in str(caught.value)


def test_precision_reaches_every_operation() -> None:
    space = plain(lambda a, t: nn.Sequential(nn.Flatten(), nn.Linear(math.prod(t.input_shape), t.n_outputs)))
    raw = {"space": "plain", "architecture": {"width": 4}, "compression": {"precision": "int8"}}
    ops = operations(space, Candidate.from_json(raw), TaskShape((1, 8, 8), 10))
    assert {op.precision for op in ops} == {"int8"}
    assert ops[0].weight_bytes == 650
    assert isinstance(ops[0], Op)
