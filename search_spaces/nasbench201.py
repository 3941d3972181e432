"""NAS-Bench-201: 15,625 cells of six edges and five operations, in the published macro skeleton (CIFAR, 3x32x32).

Source: Dong and Yang, NAS-Bench-201, ICLR 2020: figure 1 (skeleton) and section 2.1 (cell and operations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.architecture import Value
from hwnas.core.compression import kept_channels
from hwnas.core.ops import Op, Segment
from hwnas.core.space import Choice
from hwnas.core.task import TaskLike
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, most_important
from hwnas.elastic.blocks import ConvSpec, ElasticClassifier, ElasticConvBlock
from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d
from hwnas.elastic.space import ElasticSpace
from hwnas.trace import trace_block

__all__ = ["EDGES", "OPERATIONS", "SPACE"]

OPERATIONS = ("none", "skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3")
# The order of the benchmark's own tables.
CODES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
# (from node, to node); node 0 is the cell's input, node 3 its output.
EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
LABELS = tuple(f"e{start}{end}" for start, end in EDGES)
_KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
STAGES = (("s1", 16), ("s2", 32), ("s3", 64))
CELLS = 5


def live_edges(ops: Sequence[str]) -> tuple[bool, ...]:
    """For each edge: does it carry the cell's input to the cell's output?"""
    from_input, to_output = {0}, {3}
    for (start, end), op in zip(EDGES, ops, strict=True):
        if op != "none" and start in from_input:
            from_input.add(end)
    for (start, end), op in reversed(list(zip(EDGES, ops, strict=True))):
        if op != "none" and end in to_output:
            to_output.add(start)
    pairs = zip(EDGES, ops, strict=True)
    return tuple(op != "none" and start in from_input and end in to_output for (start, end), op in pairs)


def relu_conv_norm(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, convolution, batch norm: the benchmark's convolution."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels_out))


def _edge(op: str, channels: int) -> nn.Module:
    if op in _KERNELS:
        return relu_conv_norm(channels, channels, _KERNELS[op])
    if op == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Identity()


class Cell(nn.Module):
    """A cell that runs every edge but "none", as the benchmark does, edges without effect included."""

    def __init__(self, ops: Sequence[str], channels: int) -> None:
        super().__init__()
        self.ops = tuple(ops)
        self.edges = nn.ModuleList(_edge(op, channels) for op in ops)

    def forward(self, x: Tensor) -> Tensor:
        """`n x c x h x w` -> the same shape."""
        return _run_cell(x, self.ops, lambda number, node: cast(Tensor, self.edges[number](node)))


def _run_cell(x: Tensor, ops: Sequence[str], edge) -> Tensor:  # type: ignore[no-untyped-def]
    nodes: list[Tensor | None] = [x, None, None, None]
    for target in (1, 2, 3):
        for number, (start, end) in enumerate(EDGES):
            if end != target or ops[number] == "none":
                continue
            source = nodes[start]
            part = edge(number, torch.zeros_like(x) if source is None else source)
            nodes[target] = part if nodes[target] is None else cast(Tensor, nodes[target]) + part
    return torch.zeros_like(x) if nodes[3] is None else nodes[3]


@lru_cache(maxsize=1000)
def _edge_ops(op: str, shape: tuple[int, ...]) -> Segment:
    with torch.device("meta"):
        ops, _ = trace_block(_edge(op, shape[0]), shape)
    return Segment(ops)


@lru_cache(maxsize=50_000)
def _cell(ops: tuple[str, ...], shape: tuple[int, ...]) -> Segment:
    """What a trace of the whole cell finds, put together from the traces of its edges."""
    found: list[Op] = []
    nodes: list[int | None] = [-1, None, None, None]  # who wrote each node: -1 the cell's input, -2 nobody (zeros)
    for target in (1, 2, 3):
        for op, (start, end) in zip(ops, EDGES, strict=True):
            if end != target or op == "none":
                continue
            source = nodes[start]
            part = _append(found, _edge_ops(op, shape).ops, -2 if source is None else source)
            before = nodes[target]
            if before is not None:
                found.append(Op("elementwise", (shape, shape), shape, detail="add", reads=(before, part)))
                part = len(found) - 1
            nodes[target] = part
    return Segment(_mark_live(found, nodes[3]))


def _append(found: list[Op], ops: Sequence[Op], source: int) -> int:
    """Append an edge's operations that read `source`; who wrote the edge's output."""
    if not ops:
        return source
    offset = len(found)
    for op in ops:
        found.append(replace(op, reads=tuple(source if at == -1 else at + offset for at in op.reads)))
    return len(found) - 1


def _mark_live(ops: Sequence[Op], output: int | None) -> list[Op]:
    ahead: list[bool] = []
    for op in ops:
        ahead.append(any(at == -1 or (at >= 0 and ahead[at]) for at in op.reads))
    behind = {output}
    for position in reversed(range(len(ops))):
        if position in behind:
            behind.update(ops[position].reads)
    return [replace(op, live=ahead[at] and at in behind) for at, op in enumerate(ops)]


@dataclass(frozen=True, slots=True)
class CellSpec:
    """A cell of six operations."""

    ops: tuple[str, ...]
    out_channels: int

    def build(self) -> nn.Module:
        """The plain block."""
        return Cell(self.ops, self.out_channels)

    def segments(self, input_shape: tuple[int, ...]) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
        """What a trace of `build()` finds, put together from the traces of its edges."""
        return (_cell(self.ops, input_shape),), input_shape


class ElasticCell(ElasticBlock):
    """Six edges that each hold all five operations; a stage's channels are pruned in all its cells together."""

    choices = tuple(Choice(label, OPERATIONS) for label in LABELS)
    labels = LABELS

    def __init__(self, stage: str, channels: int) -> None:
        super().__init__()
        self.stage, self.channels = stage, channels
        self.convs = nn.ModuleDict(
            {f"{label}_{op}": ElasticConv2d(channels, channels, (k,)) for label in LABELS for op, k in _KERNELS.items()}
        )
        self.norms = nn.ModuleDict({name: ElasticBatchNorm2d(channels) for name in self.convs})

    def _ops(self, values: Values) -> tuple[str, ...]:
        return tuple([str(values[label]) for label in LABELS])

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return CellSpec(self._ops(values), channels)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        ops = self._ops(values)

        def edge(number: int, node: Tensor) -> Tensor:
            op, name = ops[number], f"{LABELS[number]}_{ops[number]}"
            if op in _KERNELS:
                conv = self.convs[name](F.relu(node), node.shape[1], _KERNELS[op])
                return cast(Tensor, self.norms[name](conv))
            return F.avg_pool2d(node, 3, 1, 1, count_include_pad=False) if op == "avg_pool_3x3" else node

        return _run_cell(x, ops, edge)

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        cell = cast(Cell, spec.build())
        for label, op, edge in zip(LABELS, cell.ops, cell.edges, strict=True):
            if op in _KERNELS:
                _copy(edge, self.convs[f"{label}_{op}"], self.norms[f"{label}_{op}"], inputs, inputs)
        return cell, inputs

    def width_importance(self, values: Values) -> Tensor:
        """See ElasticBlock."""
        total = torch.zeros(self.channels)
        for label, op in zip(LABELS, self._ops(values), strict=True):
            if op in _KERNELS:
                total = total + cast(ElasticConv2d, self.convs[f"{label}_{op}"]).importance().cpu()
        return total


def _copy(target: nn.Module, conv: nn.Module, norm: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    layers = cast(nn.Sequential, target)
    cast(ElasticConv2d, conv).copy_to(cast(nn.Conv2d, layers[1]), inputs, outputs)
    cast(ElasticBatchNorm2d, norm).copy_to(cast(nn.BatchNorm2d, layers[2]), outputs)


@dataclass(frozen=True, slots=True)
class DownSpec:
    """The residual block between stages: it halves the image and widens the channels."""

    in_channels: int
    out_channels: int

    def build(self) -> nn.Module:
        """The plain block."""
        return Down(self.in_channels, self.out_channels)


class Down(nn.Module):
    """Two 3x3 convolutions beside an average pool and a 1x1 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv_a = relu_conv_norm(channels_in, channels_out, 3, 2)
        self.conv_b = relu_conv_norm(channels_out, channels_out, 3)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(channels_in, channels_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """`n x c x h x w` -> `n x 2c x h/2 x w/2`."""
        return cast(Tensor, self.shortcut(x) + self.conv_b(self.conv_a(x)))


class ElasticDown(ElasticBlock):
    """The residual block that begins a stage, and so decides which of its channels stay."""

    def __init__(self, stage: str, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.stage, self.channels = stage, channels_out
        self.conv_a = ElasticConv2d(channels_in, channels_out, (3,), stride=2)
        self.conv_b = ElasticConv2d(channels_out, channels_out, (3,))
        self.shortcut = ElasticConv2d(channels_in, channels_out, (1,))
        self.norm_a, self.norm_b = ElasticBatchNorm2d(channels_out), ElasticBatchNorm2d(channels_out)

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return DownSpec(channels, kept_channels(self.channels, ratio, multiple))

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        y = self.norm_a(self.conv_a(F.relu(x), self.channels, 3))
        y = self.norm_b(self.conv_b(F.relu(y), self.channels, 3))
        return cast(Tensor, self.shortcut(F.avg_pool2d(x, 2, 2), self.channels, 1) + y)

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        block = cast(Down, spec.build())
        assert outputs is not None
        # conv_a's output channels are seen by conv_b alone, so they are chosen by their own weights.
        inner = most_important(self.conv_a.importance().cpu(), spec.out_channels)
        _copy(block.conv_a, self.conv_a, self.norm_a, inputs, inner)
        _copy(block.conv_b, self.conv_b, self.norm_b, inner, outputs)
        self.shortcut.copy_to(cast(nn.Conv2d, block.shortcut[1]), inputs, outputs)
        return block, outputs

    def width_importance(self, values: Values) -> Tensor:
        """See ElasticBlock."""
        return self.conv_b.importance().cpu() + self.shortcut.importance().cpu()


class Stem(ElasticConvBlock):
    """3x3 convolution and batch norm; it begins the first stage."""

    def __init__(self, stage: str, channels_in: int, channels_out: int) -> None:
        super().__init__("stem", channels_in, (channels_out,), act=None)
        self.stage, self.channels = stage, channels_out

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return ConvSpec(channels, kept_channels(self.channels, ratio, multiple), 3, 1, None)

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        module = cast(nn.Sequential, spec.build())
        assert outputs is not None
        self.conv.copy_to(cast(nn.Conv2d, module[0]), inputs, outputs)
        self.norm.copy_to(cast(nn.BatchNorm2d, module[1]), outputs)
        return module, outputs

    def width_importance(self, values: Values) -> Tensor:
        """See ElasticBlock."""
        return self.conv.importance().cpu()


@dataclass(frozen=True, slots=True)
class LastSpec:
    """Batch norm and ReLU before the classifier."""

    out_channels: int

    def build(self) -> nn.Module:
        """The plain block."""
        return nn.Sequential(nn.BatchNorm2d(self.out_channels), nn.ReLU())


class ElasticLast(ElasticBlock):
    """Batch norm and ReLU of the last stage's channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ElasticBatchNorm2d(channels)

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return LastSpec(channels)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        return F.relu(self.norm(x))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        module = cast(nn.Sequential, spec.build())
        self.norm.copy_to(cast(nn.BatchNorm2d, module[0]), inputs)
        return module, inputs


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """Stem, three stages of five cells with a residual block between them, batch norm, mean, classifier."""
    chain: list[ElasticBlock] = []
    before = task.input_shape[0]
    for stage, channels in STAGES:
        chain.append(ElasticDown(stage, before, channels) if chain else Stem(stage, before, channels))
        chain += [ElasticCell(stage, channels) for _ in range(CELLS)]
        before = channels
    return [*chain, ElasticLast(before), ElasticClassifier(before, task.n_outputs)]


def accepts(values: Mapping[str, Value]) -> bool:
    """Whether the cell's output depends on its input: 341 cells are constant, and no use to anybody."""
    return any(live_edges([str(values[label]) for label in LABELS]))


def canonical(values: Mapping[str, Value]) -> Mapping[str, Value]:
    """Without the edges that carry nothing from the input to the output: at most they add a constant."""
    live = live_edges([str(values[label]) for label in LABELS])
    return {label: values[label] if alive else "none" for label, alive in zip(LABELS, live, strict=True)}


SPACE = ElasticSpace(
    "nasbench201",
    blocks,
    input_shape=(3, 32, 32),
    accepts=accepts,
    canonical=canonical,
    codes=CODES,
    # Without a skip 45 convolutions follow each other, and learn slowly; this is also the benchmark's best cell.
    largest={label: "skip_connect" if label == "e03" else "nor_conv_3x3" for label in LABELS},
    smallest={label: "skip_connect" if label == "e03" else "none" for label in LABELS},
)
