"""The elastic inverted residual of MobileNet, MnasNet and FBNet, with squeeze-excite; hidden channels can be pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.compression import kept_channels
from hwnas.core.ops import Op, Segment
from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first, most_important_together
from hwnas.elastic.blocks import activation
from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d
from hwnas.errors import ConfigError

__all__ = [
    *("ElasticInvertedResidual", "InvertedResidual", "InvertedResidualSpec", "SqueezeExcite"),
    *("act_op", "convolution_ops", "divisible"),
]

_GATES: dict[str, Callable[[Tensor], Tensor]] = {"hardsigmoid": F.hardsigmoid, "sigmoid": torch.sigmoid}


def divisible(channels: float, by: int = 8) -> int:
    """`channels` rounded to a multiple of `by`, never more than a tenth below.

    Source: how the MobileNet family rounds its widths; Sandler et al., CVPR 2018, reference code.
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def _quarter(channels: int, hidden: int) -> int:
    return max(8, round(hidden / 4 / 8) * 8)


class SqueezeExcite(nn.Module):
    """Channel attention: mean over the image, two pointwise convolutions, a gate of "hardsigmoid" or "sigmoid".

    Source: Hu et al., CVPR 2018; hard sigmoid as in MobileNetV3, Howard et al., ICCV 2019.
    """

    def __init__(self, channels: int, squeezed: int, gate: str = "hardsigmoid") -> None:
        super().__init__()
        self.gate = gate
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`n x c x h x w` -> the same shape, each channel scaled by 0-1."""
        return x * _GATES[self.gate](self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels of each group out to all groups.

    Source: Zhang et al., ShuffleNet, CVPR 2018.
    """
    if groups == 1:
        return x
    channels, height, width = (int(side) for side in x.shape[1:])  # plain numbers for the exporter
    grouped = x.view(-1, groups, channels // groups, height, width)
    return grouped.transpose(1, 2).reshape(-1, channels, height, width)


@dataclass(frozen=True, slots=True)
class InvertedResidualSpec:
    """Pointwise expansion, depthwise convolution, squeeze-excite (`squeezed` > 0), pointwise projection.

    Without `expand` the depthwise convolution reads the input. With `groups` > 1 both pointwise convolutions are
    grouped, with a channel shuffle after the first.
    """

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    squeezed: int
    act: str
    residual: bool
    expand: bool = True
    groups: int = 1
    gate: str = "hardsigmoid"

    def build(self) -> nn.Module:
        """The plain block."""
        return InvertedResidual(self)

    def segments(self, input_shape: tuple[int, ...]) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
        """What a trace of `build()` finds, in closed form: a search meets thousands of these blocks."""
        out_side = [(side - 1) // self.stride + 1 for side in input_shape[1:]]
        wide, middle = (self.hidden, *input_shape[1:]), (self.hidden, *out_side)
        out = (self.out_channels, *out_side)
        ops: list[Op] = []
        if self.expand:
            ops += [*convolution_ops(input_shape, wide, 1, groups=self.groups), act_op(self.act, wide)]
        if self.expand and self.groups > 1:
            dealt = (self.hidden // self.groups, self.groups, *input_shape[1:])
            ops.append(Op("layout", (dealt,), dealt, detail="clone"))
        ops += [*convolution_ops(wide, middle, self.kernel, self.stride, self.hidden), act_op(self.act, middle)]
        if self.squeezed:
            ops += _gate_ops(middle, self.squeezed, self.gate)
        ops += convolution_ops(middle, out, 1, groups=self.groups)
        if self.residual:
            ops.append(Op("elementwise", (out, out), out, detail="add"))
        return (Segment([replace(op, reads=_reads(op, at, ops)) for at, op in enumerate(ops)]),), out


def _reads(op: Op, at: int, ops: Sequence[Op]) -> tuple[int, ...]:
    """Each operation reads the one before; the gate also scales what it was computed from, the sum adds the input."""
    if op.detail == "mul":
        return next(number for number, other in enumerate(ops) if other.kind == "reduce") - 1, at - 1
    return (-1, at - 1) if op.detail == "add" else (at - 1,)


def convolution_ops(
    source: tuple[int, ...], out: tuple[int, ...], kernel: int, stride: int = 1, groups: int = 1, *, bias: bool = False
) -> list[Op]:
    """A convolution, and its batch norm unless it has a bias of its own."""
    weights = out[0] * source[0] // groups * kernel * kernel
    dense = "pointwise" if kernel == 1 else "conv"
    kind = dense if groups == 1 else "depthwise" if groups == source[0] else "grouped"
    sizes = {"kernel": (kernel, kernel), "stride": (stride, stride), "groups": groups}
    params = weights + (out[0] if bias else 0)
    conv = Op(kind, (source,), out, macs=weights * out[1] * out[2], params=params, detail="convolution", **sizes)  # type: ignore[arg-type]
    norm = Op("norm", (out,), out, params=2 * out[0], detail="native_batch_norm")
    return [conv] if bias else [conv, norm]


def act_op(name: str, shape: tuple[int, ...]) -> Op:
    """An activation on a tensor of this shape."""
    return Op("activation", (shape,), shape, detail="hardtanh" if name == "relu6" else name)


def _gate_ops(shape: tuple[int, ...], squeezed: int, gate: str) -> list[Op]:
    point, narrow = (shape[0], 1, 1), (squeezed, 1, 1)
    return [
        Op("reduce", (shape,), point, detail="mean"),
        *convolution_ops(point, narrow, 1, bias=True),
        act_op("relu", narrow),
        *convolution_ops(narrow, point, 1, bias=True),
        act_op(gate, point),
        Op("elementwise", (shape, point), shape, detail="mul"),
    ]


class InvertedResidual(nn.Module):
    """The block of MobileNetV2 and V3, MnasNet and FBNet.

    Source: Sandler et al., CVPR 2018; Howard et al., ICCV 2019; grouped: Wu et al., CVPR 2019.
    """

    def __init__(self, spec: InvertedResidualSpec) -> None:
        super().__init__()
        hidden, kernel, groups = spec.hidden, spec.kernel, spec.groups
        self.residual, self.expands, self.groups = spec.residual, spec.expand, groups
        if spec.expand:
            self.expand = nn.Conv2d(spec.in_channels, hidden, 1, groups=groups, bias=False)
            self.expand_norm = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, spec.stride, kernel // 2, groups=hidden, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(hidden)
        self.se = SqueezeExcite(hidden, spec.squeezed, spec.gate) if spec.squeezed else nn.Identity()
        self.project = nn.Conv2d(hidden, spec.out_channels, 1, groups=groups, bias=False)
        self.project_norm = nn.BatchNorm2d(spec.out_channels)
        self.act = activation(spec.act)

    def forward(self, x: Tensor) -> Tensor:
        """`n x in x h x w` -> `n x out x h/stride x w/stride`."""
        y = x
        if self.expands:
            y = _shuffle(self.act(self.expand_norm(self.expand(x))), self.groups)
        y = self.se(self.act(self.depthwise_norm(self.depthwise(y))))
        y = self.project_norm(self.project(y))
        return cast(Tensor, x + y if self.residual else y)


class ElasticInvertedResidual(ElasticBlock):
    """An inverted residual of elastic kernel, expansion, squeeze-excite and stage width; its hidden channels prune.

    A setting that is given one option only is fixed: it is no choice, and no label is read for it.

    Args:
        stage: its stage, for pruning; None: it is not pruned. The labels are `<stage>.<index>.kernel`, `.expand`,
            `.se`, `<stage>.width` and `<stage>.depth`, where `labels` does not name them otherwise.
        index: place in the stage, from 0; the block is active if the depth is above it.
        max_in: channels of the largest input.
        widths: the stage's output channels, ascending.
        depths: the stage's numbers of blocks, ascending.
        stride: of this block.
        labels: "kernel", "expand", "se", "width" or "depth" -> label.
        expand: False: no pointwise expansion, the depthwise convolution reads the input; for `expansions` (1,).
        groups: of both pointwise convolutions, with a channel shuffle between them; such a block has one expansion, is
            not pruned, and all its input channels must be there.
        squeeze: (input channels, hidden channels) -> channels inside squeeze-excite.
        gate: of squeeze-excite, "hardsigmoid" or "sigmoid".
    Raises:
        ConfigError: several expansions of grouped convolutions, or any but 1 without `expand`.
    """

    def __init__(
        self,
        stage: str | None,
        index: int,
        max_in: int,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        kernels: Sequence[int] = (3, 5, 7),
        expansions: Sequence[int] = (3, 4, 6),
        squeeze_excite: Sequence[int] = (0, 1),
        stride: int = 1,
        act: str = "hardswish",
        labels: Mapping[str, str] | None = None,
        expand: bool = True,
        groups: int = 1,
        squeeze: Callable[[int, int], int] = _quarter,
        gate: str = "hardsigmoid",
    ) -> None:
        super().__init__()
        if (groups > 1 and len(expansions) > 1) or (not expand and tuple(expansions) != (1,)):
            rule = "a grouped block has one expansion, and one without `expand` has (1,)"
            raise ConfigError(f"{rule}; got expansions {tuple(expansions)}, groups {groups}, expand {expand}")
        self.stage, self.index, self.stride, self.act = stage, index, stride, act
        self.expands, self.groups, self.squeeze, self.gate_name = expand, groups, squeeze, gate
        options = {"kernel": kernels, "expand": expansions, "se": squeeze_excite, "width": widths, "depth": depths}
        own = {name: f"{stage}.{index}.{name}" for name in ("kernel", "expand", "se")}
        self._names = own | {name: f"{stage}.{name}" for name in ("width", "depth")} | dict(labels or {})
        self._fixed = {name: int(values[0]) for name, values in options.items() if len(values) == 1}
        self.choices = tuple(Choice(self._names[k], tuple(v)) for k, v in options.items() if k not in self._fixed)
        self.labels = tuple(choice.label for choice in self.choices)
        self._add_layers(max_in, max_in * max(expansions), widths[-1], tuple(kernels), bool(max(squeeze_excite)))
        self.activate = activation(act)

    def _add_layers(self, max_in: int, hidden: int, max_out: int, kernels: tuple[int, ...], gated: bool) -> None:
        if self.expands:
            self.expand = ElasticConv2d(max_in, hidden, (1,), groups=self.groups)
            self.expand_norm = ElasticBatchNorm2d(hidden)
        self.depthwise = ElasticConv2d(hidden, hidden, kernels, stride=self.stride, depthwise=True)
        self.depthwise_norm = ElasticBatchNorm2d(hidden)
        if gated:
            squeezed = self.squeeze(max_in, hidden)
            self.reduce = ElasticConv2d(hidden, squeezed, (1,))
            self.reduce_bias = nn.Parameter(torch.zeros(squeezed))
            self.gate = ElasticConv2d(squeezed, hidden, (1,))
            self.gate_bias = nn.Parameter(torch.zeros(hidden))
        self.project = ElasticConv2d(hidden, max_out, (1,), groups=self.groups)
        self.project_norm = ElasticBatchNorm2d(max_out)

    def _setting(self, values: Values, name: str) -> int:
        return self._fixed[name] if name in self._fixed else int(values[self._names[name]])

    def is_active(self, values: Values) -> bool:
        """See ElasticBlock."""
        return self.index < self._setting(values, "depth")

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> InvertedResidualSpec:
        """See ElasticBlock."""
        hidden, width = channels * self._setting(values, "expand"), self._setting(values, "width")
        if self.expands and self.groups == 1:
            hidden = kept_channels(hidden, ratio, multiple)
        return InvertedResidualSpec(
            in_channels=channels,
            hidden=hidden,
            out_channels=width,
            kernel=self._setting(values, "kernel"),
            stride=self.stride,
            squeezed=self.squeeze(channels, hidden) if self._setting(values, "se") else 0,
            act=self.act,
            residual=self.stride == 1 and channels == width,
            expand=self.expands,
            groups=self.groups,
            gate=self.gate_name,
        )

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        spec, y = self.spec(values, x.shape[1], 0.0, 1), x
        if spec.expand:
            y = _shuffle(self.activate(self.expand_norm(self.expand(x, spec.hidden, 1))), spec.groups)
        y = self.activate(self.depthwise_norm(self.depthwise(y, spec.hidden, spec.kernel)))
        if spec.squeezed:
            pooled = y.mean((2, 3), keepdim=True)
            squeezed = self.reduce(pooled, spec.squeezed, 1) + self.reduce_bias[: spec.squeezed, None, None]
            gate = self.gate(F.relu(squeezed), spec.hidden, 1) + self.gate_bias[: spec.hidden, None, None]
            y = y * _GATES[spec.gate](gate)
        y = self.project_norm(self.project(y, spec.out_channels, 1))
        return cast(Tensor, x + y if spec.residual else y)

    def _hidden_channels(self, spec: InvertedResidualSpec, expansion_hidden: int) -> Tensor:
        """The hidden channels that stay: those with the largest weights in all three convolutions together."""
        if spec.hidden == expansion_hidden:
            return first(spec.hidden)
        with torch.no_grad():
            parts = [self.expand.importance(), self.depthwise.importance(spec.kernel)]
            parts.append(self.project.weight.abs().sum((0, 2, 3)))
        return most_important_together(parts, spec.hidden, of=expansion_hidden)

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        assert isinstance(spec, InvertedResidualSpec)
        block, hidden, out = InvertedResidual(spec), inputs, first(spec.out_channels)
        if spec.expand:
            hidden = self._hidden_channels(spec, spec.in_channels * self._setting(values, "expand"))
            self.expand.copy_to(block.expand, inputs, hidden)
            self.expand_norm.copy_to(block.expand_norm, hidden)
        self.depthwise.copy_to(block.depthwise, hidden, hidden)
        self.depthwise_norm.copy_to(block.depthwise_norm, hidden)
        if isinstance(block.se, SqueezeExcite):
            self._copy_gate(block.se, hidden, first(spec.squeezed))
        self.project.copy_to(block.project, hidden, out)
        self.project_norm.copy_to(block.project_norm, out)
        return block, out

    def _copy_gate(self, gate: SqueezeExcite, hidden: Tensor, squeezed: Tensor) -> None:
        self.reduce.copy_to(gate.reduce, hidden, squeezed)
        self.gate.copy_to(gate.expand, squeezed, hidden)
        with torch.no_grad():
            cast(Tensor, gate.reduce.bias).copy_(self.reduce_bias[: len(squeezed)])
            cast(Tensor, gate.expand.bias).copy_(self.gate_bias[hidden.to(self.gate_bias.device)])
