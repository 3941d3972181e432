"""The elastic depthwise-separable convolution of MobileNet and DS-CNN; its output channels can be pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from hwnas.core.compression import kept_channels
from hwnas.core.ops import Segment
from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first
from hwnas.elastic.blocks import activation
from hwnas.elastic.inverted_residual import act_op, convolution_ops
from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d

__all__ = ["ElasticSeparable", "SeparableSpec"]


@dataclass(frozen=True, slots=True)
class SeparableSpec:
    """Depthwise convolution, batch norm, ReLU; pointwise convolution, batch norm, ReLU.

    Source: Howard et al., MobileNets, 2017; for spoken words: Zhang et al., Hello Edge, 2017.
    """

    in_channels: int
    out_channels: int
    kernel: int
    stride: int

    def build(self) -> nn.Module:
        """The plain block."""
        inner, outer, kernel = self.in_channels, self.out_channels, self.kernel
        return nn.Sequential(
            nn.Conv2d(inner, inner, kernel, self.stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            activation("relu"),
            nn.Conv2d(inner, outer, 1, bias=False),
            nn.BatchNorm2d(outer),
            activation("relu"),
        )

    def segments(self, input_shape: tuple[int, ...]) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
        """What a trace of `build()` finds, in closed form: a search meets thousands of these blocks."""
        sides = [(side - 1) // self.stride + 1 for side in input_shape[1:]]
        middle, out = (self.in_channels, *sides), (self.out_channels, *sides)
        ops = [
            *convolution_ops(input_shape, middle, self.kernel, self.stride, self.in_channels),
            act_op("relu", middle),
            *convolution_ops(middle, out, 1),
            act_op("relu", out),
        ]
        return (Segment([replace(op, reads=(at - 1,)) for at, op in enumerate(ops)]),), out


class ElasticSeparable(ElasticBlock):
    """A depthwise-separable convolution of elastic kernel and width; its width can be pruned.

    Args:
        name: of the block, which is a stage of its own. The labels are `<name>.kernel`, `<name>.width`, and `depth`.
        index: its place, from 0; the block is active if the depth is above it.
        max_in: channels of the largest input.
        widths: output channels, ascending.
        depths: numbers of blocks that the network may have, ascending.
        kernels: odd, ascending.
        stride: of this block.
    """

    def __init__(
        self,
        name: str,
        index: int,
        max_in: int,
        widths: Sequence[int],
        depths: Sequence[int],
        *,
        kernels: Sequence[int] = (3, 5),
        stride: int = 1,
    ) -> None:
        super().__init__()
        self.stage, self.index, self.stride = name, index, stride
        self.choices = (
            Choice(f"{name}.kernel", tuple(kernels)),
            Choice(f"{name}.width", tuple(widths)),
            Choice("depth", tuple(depths)),
        )
        self.labels = tuple(choice.label for choice in self.choices)
        self.depthwise = ElasticConv2d(max_in, max_in, tuple(kernels), stride=stride, depthwise=True)
        self.depthwise_norm = ElasticBatchNorm2d(max_in)
        self.pointwise = ElasticConv2d(max_in, widths[-1], (1,))
        self.pointwise_norm = ElasticBatchNorm2d(widths[-1])

    def is_active(self, values: Values) -> bool:
        """See ElasticBlock."""
        return self.index < int(values["depth"])

    def _width(self, values: Values) -> int:
        return int(values[f"{self.stage}.width"])

    def _kernel(self, values: Values) -> int:
        return int(values[f"{self.stage}.kernel"])

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        width = kept_channels(self._width(values), ratio, multiple)
        return SeparableSpec(channels, width, self._kernel(values), self.stride)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        x = torch.relu(self.depthwise_norm(self.depthwise(x, x.shape[1], self._kernel(values))))
        return torch.relu(self.pointwise_norm(self.pointwise(x, self._width(values), 1)))

    def width_importance(self, values: Values) -> Tensor | None:
        """See ElasticBlock."""
        return self.pointwise.importance()[: self._width(values)]

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        module, out = spec.build(), first(spec.out_channels) if outputs is None else outputs
        assert isinstance(module, nn.Sequential)
        self.depthwise.copy_to(cast(nn.Conv2d, module[0]), inputs, inputs)
        self.depthwise_norm.copy_to(cast(nn.BatchNorm2d, module[1]), inputs)
        self.pointwise.copy_to(cast(nn.Conv2d, module[3]), inputs, out)
        self.pointwise_norm.copy_to(cast(nn.BatchNorm2d, module[4]), out)
        return module, out
