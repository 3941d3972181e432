"""The elastic blocks that spaces are written with: convolution, inverted residual, resize, classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first
from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from hwnas.errors import ConfigError

__all__ = [
    "ClassifierSpec",
    "ConvSpec",
    "ElasticClassifier",
    "ElasticConvBlock",
    "ElasticResize",
    "ResizeSpec",
    "activation",
]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish}


def activation(name: str) -> nn.Module:
    """An activation by name: "relu", "relu6" or "hardswish".

    Raises:
        ConfigError: any other name.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"unknown activation {name!r}; allowed: {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]()


@dataclass(frozen=True, slots=True)
class ResizeSpec:
    """Bilinear resize to `size` pixels a side; nothing if the input has that size."""

    out_channels: int
    size: int

    def build(self) -> nn.Module:
        """The plain block."""
        return Resize(self.size)


class Resize(nn.Module):
    """Bilinear resize of `n x c x h x w` to a square."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """`n x c x h x w` -> `n x c x size x size`."""
        if tuple(x.shape[2:]) == (self.size, self.size):
            return x
        return F.interpolate(x, size=(self.size, self.size), mode="bilinear", align_corners=False)


class ElasticResize(ElasticBlock):
    """Elastic input resolution; the network takes its full-size input and scales it down itself."""

    def __init__(self, label: str, sizes: Sequence[int]) -> None:
        super().__init__()
        self.label = label
        self.choices = (Choice(label, tuple(sizes)),)
        self.labels = (label,)

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return ResizeSpec(channels, int(values[self.label]))

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        return cast(Tensor, Resize(int(values[self.label]))(x))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        return spec.build(), inputs


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """Convolution, batch norm, and an activation unless it is None."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    act: str | None

    def build(self) -> nn.Module:
        """The plain block."""
        conv = nn.Conv2d(self.in_channels, self.out_channels, self.kernel, self.stride, self.kernel // 2, bias=False)
        layers: list[nn.Module] = [conv, nn.BatchNorm2d(self.out_channels)]
        return nn.Sequential(*layers, *([activation(self.act)] if self.act else []))


class ElasticConvBlock(ElasticBlock):
    """Convolution, batch norm, activation, with elastic output width.

    Args:
        label: of the width choice.
        max_in: channels of the largest input.
        widths: output channels, ascending.
    """

    def __init__(
        self,
        label: str,
        max_in: int,
        widths: Sequence[int],
        *,
        kernel: int = 3,
        stride: int = 1,
        act: str | None = "hardswish",
    ) -> None:
        super().__init__()
        self.label, self.kernel, self.stride, self.act = label, kernel, stride, act
        self.choices = (Choice(label, tuple(widths)),)
        self.labels = (label,)
        self.conv = ElasticConv2d(max_in, widths[-1], (kernel,), stride=stride)
        self.norm = ElasticBatchNorm2d(widths[-1])
        self.activate = activation(act) if act else nn.Identity()

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return ConvSpec(channels, int(values[self.label]), self.kernel, self.stride, self.act)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        x = self.norm(self.conv(x, int(values[self.label]), self.kernel))
        return cast(Tensor, self.activate(x))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        module, out = spec.build(), first(spec.out_channels)
        assert isinstance(module, nn.Sequential)
        self.conv.copy_to(cast(nn.Conv2d, module[0]), inputs, out)
        self.norm.copy_to(cast(nn.BatchNorm2d, module[1]), out)
        return module, out


@dataclass(frozen=True, slots=True)
class ClassifierSpec:
    """Mean over the image, then a linear layer."""

    in_channels: int
    out_channels: int

    def build(self) -> nn.Module:
        """The plain block."""
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.in_channels, self.out_channels))


class ElasticClassifier(ElasticBlock):
    """Mean over the image and a linear layer to `n_outputs` logits; takes any width up to `max_in`."""

    def __init__(self, max_in: int, n_outputs: int) -> None:
        super().__init__()
        self.linear = ElasticLinear(max_in, n_outputs)
        self.n_outputs = n_outputs

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return ClassifierSpec(channels, self.n_outputs)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        return cast(Tensor, self.linear(x.mean((2, 3))))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        module = spec.build()
        assert isinstance(module, nn.Sequential)
        self.linear.copy_to(cast(nn.Linear, module[2]), inputs)
        return module, torch.arange(self.n_outputs)
