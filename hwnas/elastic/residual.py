"""The elastic residual block of two dense convolutions, as in ResNet; the channels between the two can be pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from hwnas.core.compression import kept_channels
from hwnas.core.ops import Op, Segment
from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first, most_important_together
from hwnas.elastic.inverted_residual import act_op, convolution_ops, divisible
from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d

__all__ = ["ElasticResidual", "Residual", "ResidualSpec"]


@dataclass(frozen=True, slots=True)
class ResidualSpec:
    """Two 3x3 convolutions with batch norm, ReLU between them, the input added, ReLU.

    Where it `projects`, the input passes through a pointwise convolution and batch norm first.
    """

    in_channels: int
    hidden: int
    out_channels: int
    stride: int
    projects: bool

    def build(self) -> nn.Module:
        """The plain block."""
        return Residual(self)

    def segments(self, input_shape: tuple[int, ...]) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
        """What a trace of `build()` finds, in closed form: a search meets thousands of these blocks."""
        sides = [(side - 1) // self.stride + 1 for side in input_shape[1:]]
        middle, out = (self.hidden, *sides), (self.out_channels, *sides)
        ops: list[Op] = [
            *convolution_ops(input_shape, middle, 3, self.stride),
            act_op("relu", middle),
            *convolution_ops(middle, out, 3),
        ]
        ops = [replace(op, reads=(at - 1,)) for at, op in enumerate(ops)]
        short = -1
        if self.projects:
            conv, norm = convolution_ops(input_shape, out, 1, self.stride)
            ops += [replace(conv, reads=(-1,)), replace(norm, reads=(len(ops),))]
            short = len(ops) - 1
        ops.append(Op("elementwise", (out, out), out, detail="add", reads=(4, short)))
        ops.append(replace(act_op("relu", out), reads=(len(ops) - 1,)))
        return (Segment(ops),), out


class Residual(nn.Module):
    """The basic block.

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, figure 2 and option B of section 3.3.
    """

    def __init__(self, spec: ResidualSpec) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(spec.in_channels, spec.hidden, 3, spec.stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(spec.hidden)
        self.conv2 = nn.Conv2d(spec.hidden, spec.out_channels, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(spec.out_channels)
        self.short: nn.Module = nn.Identity()
        if spec.projects:
            projection = nn.Conv2d(spec.in_channels, spec.out_channels, 1, spec.stride, bias=False)
            self.short = nn.Sequential(projection, nn.BatchNorm2d(spec.out_channels))
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """`n x in x h x w` -> `n x out x h/stride x w/stride`."""
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        return cast(Tensor, self.act2(y + self.short(x)))


class ElasticResidual(ElasticBlock):
    """A residual block of elastic hidden width and stage width; its hidden channels can be pruned.

    Args:
        stage: its stage. The labels are `<stage>.<index>.hidden`, `<stage>.width` and `<stage>.depth`.
        index: place in the stage, from 0; the block is active if the depth is above it. The first one projects.
        max_in: channels of the largest input.
        widths: the stage's output channels, ascending.
        depths: the stage's numbers of blocks, ascending.
        hidden: channels between the convolutions as shares of the width, ascending.
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
        hidden: Sequence[float] = (0.5, 0.75, 1.0),
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.stage, self.index, self.stride = stage, index, stride
        self._hidden, self._width, self._depth = f"{stage}.{index}.hidden", f"{stage}.width", f"{stage}.depth"
        options = {self._hidden: hidden, self._width: widths, self._depth: depths}
        self.choices = tuple(Choice(label, tuple(values)) for label, values in options.items())
        self.labels = tuple(options)
        most, out = divisible(widths[-1] * hidden[-1]), widths[-1]
        self.conv1, self.norm1 = ElasticConv2d(max_in, most, (3,), stride=stride), ElasticBatchNorm2d(most)
        self.conv2, self.norm2 = ElasticConv2d(most, out, (3,)), ElasticBatchNorm2d(out)
        if self.projects:
            self.short, self.short_norm = ElasticConv2d(max_in, out, (1,), stride=stride), ElasticBatchNorm2d(out)

    @property
    def projects(self) -> bool:
        """Whether the input passes through a convolution before it is added."""
        return self.index == 0

    def is_active(self, values: Values) -> bool:
        """See ElasticBlock."""
        return self.index < int(values[self._depth])

    def _sizes(self, values: Values) -> tuple[int, int]:
        """Hidden and output channels, nothing pruned."""
        width = int(values[self._width])
        return divisible(width * float(values[self._hidden])), width

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        hidden, width = self._sizes(values)
        return ResidualSpec(channels, kept_channels(hidden, ratio, multiple), width, self.stride, self.projects)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        hidden, width = self._sizes(values)
        y = torch.relu(self.norm1(self.conv1(x, hidden, 3)))
        y = self.norm2(self.conv2(y, width, 3))
        return torch.relu(y + (self.short_norm(self.short(x, width, 1)) if self.projects else x))

    def _kept(self, count: int, of: int) -> Tensor:
        """The hidden channels that stay: those with the largest weights in both convolutions together."""
        if count == of:
            return first(count)
        with torch.no_grad():
            parts = [self.conv1.importance(), self.conv2.weight.abs().sum((0, 2, 3))]
        return most_important_together(parts, count, of=of)

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        assert isinstance(spec, ResidualSpec)
        block, out = Residual(spec), first(spec.out_channels)
        hidden = self._kept(spec.hidden, self._sizes(values)[0])
        self.conv1.copy_to(block.conv1, inputs, hidden)
        self.norm1.copy_to(block.norm1, hidden)
        self.conv2.copy_to(block.conv2, hidden, out)
        self.norm2.copy_to(block.norm2, out)
        if isinstance(block.short, nn.Sequential):
            self.short.copy_to(cast(nn.Conv2d, block.short[0]), inputs, out)
            self.short_norm.copy_to(cast(nn.BatchNorm2d, block.short[1]), out)
        return block, out
