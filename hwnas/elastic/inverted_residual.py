"""The elastic inverted residual of the MobileNet family, with squeeze-excite; its hidden channels can be pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.compression import kept_channels
from hwnas.core.ops import Op, Segment
from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first, most_important
from hwnas.elastic.blocks import activation
from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d

__all__ = ["ElasticInvertedResidual", "InvertedResidual", "InvertedResidualSpec", "SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """Channel attention: mean over the image, two pointwise convolutions, hard sigmoid.

    Source: Hu et al., CVPR 2018; reduction 4 and hard sigmoid as in MobileNetV3, Howard et al., ICCV 2019.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`n x c x h x w` -> the same shape, each channel scaled by 0-1."""
        gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * F.hardsigmoid(gate)


@dataclass(frozen=True, slots=True)
class InvertedResidualSpec:
    """Pointwise expansion, depthwise convolution, squeeze-excite (`squeezed` > 0), pointwise projection."""

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    squeezed: int
    act: str
    residual: bool

    def build(self) -> nn.Module:
        """The plain block."""
        return InvertedResidual(self)

    def segments(self, input_shape: tuple[int, ...]) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
        """What a trace of `build()` finds, in closed form: a search meets thousands of these blocks."""
        out_side = [(side - 1) // self.stride + 1 for side in input_shape[1:]]
        wide, middle = (self.hidden, *input_shape[1:]), (self.hidden, *out_side)
        out = (self.out_channels, *out_side)
        ops = [*_convolution_ops(input_shape, wide, 1), _act_op(self.act, wide)]
        ops += [*_convolution_ops(wide, middle, self.kernel, self.stride, self.hidden), _act_op(self.act, middle)]
        if self.squeezed:
            ops += _gate_ops(middle, self.squeezed)
        ops += _convolution_ops(middle, out, 1)
        if self.residual:
            ops.append(Op("elementwise", (out, out), out, detail="add"))
        return (Segment([replace(op, reads=_reads(op, at, ops)) for at, op in enumerate(ops)]),), out


def _reads(op: Op, at: int, ops: Sequence[Op]) -> tuple[int, ...]:
    """Each operation reads the one before; the gate also scales what it was computed from, the sum adds the input."""
    if op.detail == "mul":
        return next(number for number, other in enumerate(ops) if other.kind == "reduce") - 1, at - 1
    return (-1, at - 1) if op.detail == "add" else (at - 1,)


def _convolution_ops(
    source: tuple[int, ...], out: tuple[int, ...], kernel: int, stride: int = 1, groups: int = 1, *, bias: bool = False
) -> list[Op]:
    """A convolution, and its batch norm unless it has a bias of its own."""
    weights = out[0] * source[0] // groups * kernel * kernel
    kind = "depthwise" if groups > 1 else "pointwise"
    sizes = {"kernel": (kernel, kernel), "stride": (stride, stride), "groups": groups}
    params = weights + (out[0] if bias else 0)
    conv = Op(kind, (source,), out, macs=weights * out[1] * out[2], params=params, detail="convolution", **sizes)  # type: ignore[arg-type]
    norm = Op("norm", (out,), out, params=2 * out[0], detail="native_batch_norm")
    return [conv] if bias else [conv, norm]


def _act_op(name: str, shape: tuple[int, ...]) -> Op:
    return Op("activation", (shape,), shape, detail="hardtanh" if name == "relu6" else name)


def _gate_ops(shape: tuple[int, ...], squeezed: int) -> list[Op]:
    point, narrow = (shape[0], 1, 1), (squeezed, 1, 1)
    return [
        Op("reduce", (shape,), point, detail="mean"),
        *_convolution_ops(point, narrow, 1, bias=True),
        _act_op("relu", narrow),
        *_convolution_ops(narrow, point, 1, bias=True),
        _act_op("hardsigmoid", point),
        Op("elementwise", (shape, point), shape, detail="mul"),
    ]


class InvertedResidual(nn.Module):
    """The block of MobileNetV2 and V3.

    Source: Sandler et al., CVPR 2018; Howard et al., ICCV 2019.
    """

    def __init__(self, spec: InvertedResidualSpec) -> None:
        super().__init__()
        hidden, kernel = spec.hidden, spec.kernel
        self.residual = spec.residual
        self.expand = nn.Conv2d(spec.in_channels, hidden, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, spec.stride, kernel // 2, groups=hidden, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(hidden)
        self.se = SqueezeExcite(hidden, spec.squeezed) if spec.squeezed else nn.Identity()
        self.project = nn.Conv2d(hidden, spec.out_channels, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(spec.out_channels)
        self.act = activation(spec.act)

    def forward(self, x: Tensor) -> Tensor:
        """`n x in x h x w` -> `n x out x h/stride x w/stride`."""
        y = self.act(self.expand_norm(self.expand(x)))
        y = self.se(self.act(self.depthwise_norm(self.depthwise(y))))
        y = self.project_norm(self.project(y))
        return cast(Tensor, x + y if self.residual else y)


class ElasticInvertedResidual(ElasticBlock):
    """An inverted residual of elastic kernel, expansion, squeeze-excite and stage width; its hidden channels prune.

    Args:
        stage: its stage; the labels are `<stage>.<index>.kernel`, `.expand`, `.se`, `<stage>.width`, `<stage>.depth`.
        index: place in the stage, from 0; the block is active if `<stage>.depth` > index.
        max_in: channels of the largest input.
        widths: the stage's output channels, ascending.
        depths: the stage's numbers of blocks, ascending.
        stride: of this block.
    """

    def __init__(
        self,
        stage: str,
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
    ) -> None:
        super().__init__()
        self.stage, self.index, self.stride, self.act = stage, index, stride, act
        self.squeeze_reduction = 4
        own = {"kernel": kernels, "expand": expansions, "se": squeeze_excite}
        self._own = {name: f"{stage}.{index}.{name}" for name in own}
        self._width, self._depth = f"{stage}.width", f"{stage}.depth"
        choices = [Choice(self._own[name], tuple(options)) for name, options in own.items()]
        choices += [Choice(self._width, tuple(widths)), Choice(self._depth, tuple(depths))]
        self.choices = tuple(choices)
        self.labels = tuple(choice.label for choice in choices)
        hidden, squeezed = max_in * max(expansions), self._squeezed(max_in * max(expansions))
        self.expand = ElasticConv2d(max_in, hidden, (1,))
        self.expand_norm = ElasticBatchNorm2d(hidden)
        self.depthwise = ElasticConv2d(hidden, hidden, tuple(kernels), stride=stride, depthwise=True)
        self.depthwise_norm = ElasticBatchNorm2d(hidden)
        self.reduce = ElasticConv2d(hidden, squeezed, (1,))
        self.reduce_bias = nn.Parameter(torch.zeros(squeezed))
        self.gate = ElasticConv2d(squeezed, hidden, (1,))
        self.gate_bias = nn.Parameter(torch.zeros(hidden))
        self.project = ElasticConv2d(hidden, widths[-1], (1,))
        self.project_norm = ElasticBatchNorm2d(widths[-1])
        self.activate = activation(act)

    def _squeezed(self, hidden: int) -> int:
        return max(8, round(hidden / self.squeeze_reduction / 8) * 8)

    def is_active(self, values: Values) -> bool:
        """See ElasticBlock."""
        return self.index < int(values[self._depth])

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> InvertedResidualSpec:
        """See ElasticBlock."""
        hidden = kept_channels(channels * int(values[self._own["expand"]]), ratio, multiple)
        width = int(values[self._width])
        return InvertedResidualSpec(
            in_channels=channels,
            hidden=hidden,
            out_channels=width,
            kernel=int(values[self._own["kernel"]]),
            stride=self.stride,
            squeezed=self._squeezed(hidden) if values[self._own["se"]] else 0,
            act=self.act,
            residual=self.stride == 1 and channels == width,
        )

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        spec = self.spec(values, x.shape[1], 0.0, 1)
        y = self.activate(self.expand_norm(self.expand(x, spec.hidden, 1)))
        y = self.activate(self.depthwise_norm(self.depthwise(y, spec.hidden, spec.kernel)))
        if spec.squeezed:
            pooled = y.mean((2, 3), keepdim=True)
            squeezed = self.reduce(pooled, spec.squeezed, 1) + self.reduce_bias[: spec.squeezed, None, None]
            gate = self.gate(F.relu(squeezed), spec.hidden, 1) + self.gate_bias[: spec.hidden, None, None]
            y = y * F.hardsigmoid(gate)
        y = self.project_norm(self.project(y, spec.out_channels, 1))
        return cast(Tensor, x + y if spec.residual else y)

    def _hidden_channels(self, spec: InvertedResidualSpec, expansion_hidden: int) -> Tensor:
        """The hidden channels that stay: those with the largest weights in all three convolutions together."""
        if spec.hidden == expansion_hidden:
            return first(spec.hidden)
        with torch.no_grad():
            parts = [self.expand.importance(), self.depthwise.importance(spec.kernel)]
            parts.append(self.project.weight.abs().sum((0, 2, 3)))
            total = torch.stack([part[:expansion_hidden] / part[:expansion_hidden].mean() for part in parts]).sum(0)
        return most_important(total.cpu(), spec.hidden)

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        assert isinstance(spec, InvertedResidualSpec)
        whole = spec.in_channels * int(values[self._own["expand"]])
        hidden, out = self._hidden_channels(spec, whole), first(spec.out_channels)
        block = InvertedResidual(spec)
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
