"""Layers whose channels and kernels are a view of one shared, largest weight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.errors import ConfigError

__all__ = ["Channels", "ElasticBatchNorm2d", "ElasticConv2d", "ElasticLayerNorm", "ElasticLinear"]

# The first n channels (while training), or chosen ones (when a subnet is cut out).
Channels = int | Tensor


def _take(weight: Tensor, dim: int, channels: Channels) -> Tensor:
    if isinstance(channels, Tensor):
        return weight.index_select(dim, channels.to(weight.device))
    return weight.narrow(dim, 0, channels)


def _count(channels: Channels) -> int:
    return len(channels) if isinstance(channels, Tensor) else channels


class ElasticConv2d(nn.Module):
    """A convolution of elastic input channels, output channels and kernel size; padding keeps height and width.

    A smaller kernel is the centre of the next larger one, times a learned matrix that all channels share.
    Source: Cai et al., Once-for-all, ICLR 2020, section 3.3.

    Args:
        max_in, max_out: channels of the largest layer.
        kernels: odd sizes, ascending.
        stride: of height and width.
        depthwise: one filter a channel (`max_in` must be `max_out`).
        groups: of a convolution that is not depthwise; with more than one, all its channels are always used.
    """

    def __init__(
        self,
        max_in: int,
        max_out: int,
        kernels: Sequence[int] = (3,),
        *,
        stride: int = 1,
        depthwise: bool = False,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if list(kernels) != sorted(set(kernels)) or any(kernel % 2 == 0 for kernel in kernels):
            raise ConfigError(f"kernels must be odd, different and ascending, got {tuple(kernels)}")
        self.kernels, self.stride, self.depthwise, self.groups = tuple(kernels), stride, depthwise, groups
        fan_in = 1 if depthwise else max_in // groups
        self.weight = nn.Parameter(torch.empty(max_out, fan_in, kernels[-1], kernels[-1]))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.shrink = nn.ParameterList(torch.eye(kernel * kernel) for kernel in self.kernels[:-1])

    def kernel_weight(self, kernel: int) -> Tensor:
        """Weight of all channels at a kernel size: `max_out x max_in x kernel x kernel`."""
        weight: Tensor = self.weight
        for matrix, size in zip(reversed(self.shrink), reversed(self.kernels[:-1]), strict=True):
            if weight.shape[-1] == kernel:
                break
            margin = (weight.shape[-1] - size) // 2
            centre = weight[:, :, margin : margin + size, margin : margin + size].flatten(2)
            weight = (centre @ matrix).unflatten(2, (size, size))
        return weight

    def active_weight(self, inputs: Channels, outputs: Channels, kernel: int) -> Tensor:
        """Weight of a subnet, as its own convolution would hold it."""
        weight = _take(self.kernel_weight(kernel), 0, outputs)
        return weight if self.depthwise or self.groups > 1 else _take(weight, 1, inputs)

    def forward(self, x: Tensor, outputs: int, kernel: int) -> Tensor:
        """Run with the first `x.shape[1]` input and the first `outputs` output channels."""
        weight = self.active_weight(x.shape[1], outputs, kernel)
        groups = outputs if self.depthwise else self.groups
        return F.conv2d(x, weight, stride=self.stride, padding=kernel // 2, groups=groups)

    def copy_to(self, conv: nn.Conv2d, inputs: Channels, outputs: Channels) -> None:
        """Write the weights of a subnet into a plain convolution of its size."""
        with torch.no_grad():
            conv.weight.copy_(self.active_weight(inputs, outputs, int(conv.kernel_size[0])))

    def importance(self, kernel: int | None = None) -> Tensor:
        """Sum of absolute weights per output channel (`max_out`), for choosing what to prune.

        Source: Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017.
        """
        with torch.no_grad():
            return self.kernel_weight(kernel or self.kernels[-1]).abs().flatten(1).sum(1)


class ElasticBatchNorm2d(nn.Module):
    """Batch normalisation of the first channels; it always uses the statistics of the batch.

    Subnets have different statistics, so none are kept here: a subnet that was cut out gets its own (recalibration).
    """

    def __init__(self, max_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(max_channels))
        self.bias = nn.Parameter(torch.zeros(max_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `n x channels x height x width`."""
        channels = x.shape[1]
        return F.batch_norm(x, None, None, self.weight[:channels], self.bias[:channels], training=True)

    def copy_to(self, norm: nn.BatchNorm2d, channels: Channels) -> None:
        """Write scale and shift of a subnet into a plain layer."""
        with torch.no_grad():
            norm.weight.copy_(_take(self.weight, 0, channels))
            norm.bias.copy_(_take(self.bias, 0, channels))


class ElasticLinear(nn.Module):
    """A linear layer of elastic input features, and of elastic outputs where it is told which.

    Args:
        max_in: features of the largest layer; `n_outputs`: its outputs.
        std: of fresh weights.
    """

    def __init__(self, max_in: int, n_outputs: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_outputs, max_in))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Tensor, outputs: Channels | None = None) -> Tensor:
        """`n x ... x features` -> `n x ... x outputs`, with the first features; all outputs if None."""
        chosen = len(self.bias) if outputs is None else outputs
        return F.linear(x, _take(self.weight, 0, chosen)[:, : x.shape[-1]], _take(self.bias, 0, chosen))

    def copy_to(self, linear: nn.Linear, inputs: Channels, outputs: Channels | None = None) -> None:
        """Write the weights of a subnet into a plain layer."""
        chosen = len(self.bias) if outputs is None else outputs
        with torch.no_grad():
            linear.weight.copy_(_take(_take(self.weight, 0, chosen), 1, inputs))
            linear.bias.copy_(_take(self.bias, 0, chosen))


class ElasticLayerNorm(nn.Module):
    """Layer normalisation of the first features."""

    def __init__(self, max_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(max_features))
        self.bias = nn.Parameter(torch.zeros(max_features))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `n x ... x features` over the features."""
        features = x.shape[-1]
        return F.layer_norm(x, (features,), self.weight[:features], self.bias[:features])

    def copy_to(self, norm: nn.LayerNorm, features: Channels) -> None:
        """Write scale and shift of a subnet into a plain layer."""
        with torch.no_grad():
            norm.weight.copy_(_take(self.weight, 0, features))
            norm.bias.copy_(_take(self.bias, 0, features))
