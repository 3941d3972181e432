"""The elastic blocks that spaces are written with, beside the inverted residual: convolution, resize, classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.ops import Segment
from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first
from hwnas.elastic.layers import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from hwnas.errors import ConfigError

__all__ = [
    "ClassifierSpec",
    "ConvSpec",
    "ElasticClassifier",
    "ElasticConvBlock",
    "ElasticIdentity",
    "ElasticResize",
    "IdentitySpec",
    "Resize",
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
class IdentitySpec:
    """A block that does nothing."""

    out_channels: int

    def build(self) -> nn.Module:
        """The plain block."""
        return nn.Identity()

    def segments(self, input_shape: tuple[int, ...]) -> tuple[tuple[Segment, ...], tuple[int, ...]]:
        """No operations."""
        return (), input_shape


class ElasticIdentity(ElasticBlock):
    """What a layer that is skipped becomes."""

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return IdentitySpec(channels)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        return x

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        return spec.build(), inputs


@dataclass(frozen=True, slots=True)
class ResizeSpec:
    """Bilinear resize; see Resize."""

    out_channels: int
    size: int
    full: int | None = None

    def build(self) -> nn.Module:
        """The plain block."""
        return Resize(self.size, self.full)


class Resize(nn.Module):
    """Bilinear resize of `n x c x h x w`; an input that is no larger than wanted stays as it is.

    Args:
        size: pixels a side of the output, at most.
        full: if given, `size` is meant for inputs of `full` pixels a side, and others are scaled by the same factor
            (to whole pixels).
    """

    def __init__(self, size: int, full: int | None = None) -> None:
        super().__init__()
        self.size, self.full = size, full

    def forward(self, x: Tensor) -> Tensor:
        """`n x c x h x w` -> `n x c x size x size` (if `h` and `w` are `full`)."""
        sides = (int(x.shape[2]), int(x.shape[3]))  # plain numbers, so that an exported file has a fixed size
        wanted = tuple(
            min(self.size, s) if self.full is None else max(1, round(self.size * s / self.full)) for s in sides
        )
        return x if wanted == sides else F.interpolate(x, size=wanted, mode="bilinear", align_corners=False)


class ElasticResize(ElasticBlock):
    """Elastic input resolution; the network takes its full-size input and scales it down itself.

    Args:
        label: of the choice.
        sizes: pixels a side, ascending.
        full: see Resize; for a space of one large input, so that it can be trained on smaller images.
    """

    def __init__(self, label: str, sizes: Sequence[int], full: int | None = None) -> None:
        super().__init__()
        self.label, self.full = label, full
        self.choices = (Choice(label, tuple(sizes)),)
        self.labels = (label,)

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return ResizeSpec(channels, int(values[self.label]), self.full)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        return cast(Tensor, Resize(int(values[self.label]), self.full)(x))

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
        widths: output channels, ascending; a single one is no choice.
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
        self.widths = tuple(widths)
        self.choices = (Choice(label, self.widths),) if len(widths) > 1 else ()
        self.labels = tuple(choice.label for choice in self.choices)
        self.conv = ElasticConv2d(max_in, widths[-1], (kernel,), stride=stride)
        self.norm = ElasticBatchNorm2d(widths[-1])
        self.activate = activation(act) if act else nn.Identity()

    def _width(self, values: Values) -> int:
        return int(values[self.label]) if self.choices else self.widths[0]

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return ConvSpec(channels, self._width(values), self.kernel, self.stride, self.act)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        x = self.norm(self.conv(x, self._width(values), self.kernel))
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
    """Mean over the image, then a linear layer; between them a pointwise convolution and hard swish if `mix` > 0."""

    in_channels: int
    out_channels: int
    mix: int = 0

    def build(self) -> nn.Module:
        """The plain block."""
        mixed: list[nn.Module] = []
        if self.mix:
            mixed = [nn.Conv2d(self.in_channels, self.mix, 1, bias=False), nn.Hardswish()]
        linear = nn.Linear(self.mix or self.in_channels, self.out_channels)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), *mixed, nn.Flatten(), linear)


class ElasticClassifier(ElasticBlock):
    """Mean over the image and a linear layer to `n_outputs` logits; takes any width up to `max_in`.

    Args:
        max_in: channels of the largest input.
        n_outputs: logits.
        mix: channels of a pointwise convolution and hard swish between the two, as in MobileNetV3; 0: none.
    """

    def __init__(self, max_in: int, n_outputs: int, *, mix: int = 0) -> None:
        super().__init__()
        self.mix = ElasticConv2d(max_in, mix, (1,)) if mix else None
        self.linear = ElasticLinear(mix or max_in, n_outputs)
        self.n_outputs, self.n_mixed = n_outputs, mix

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return ClassifierSpec(channels, self.n_outputs, self.n_mixed)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        if self.mix is None:
            return cast(Tensor, self.linear(x.mean((2, 3))))
        mixed = F.hardswish(self.mix(x.mean((2, 3), keepdim=True), self.n_mixed, 1))
        return cast(Tensor, self.linear(mixed.flatten(1)))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        module = spec.build()
        assert isinstance(module, nn.Sequential)
        if self.mix is not None:
            self.mix.copy_to(cast(nn.Conv2d, module[1]), inputs, self.n_mixed)
            inputs = first(self.n_mixed)
        self.linear.copy_to(cast(nn.Linear, module[-1]), inputs)
        return module, torch.arange(self.n_outputs)
