"""Small real networks for contract tests."""

from __future__ import annotations

from typing import Any

__all__ = ["ids_network", "kept_network", "small_network"]


def small_network(
    *, input_shape: tuple[int, ...] = (3, 16, 16), n_outputs: int = 5, width: int = 16, seed: int = 0
) -> Any:
    """A `torch.nn.Module` in eval mode: convolutions, batch norm with lived-in statistics, hard-swish,
    squeeze-excite, depthwise convolution with a residual, and a linear classifier.
    """
    import torch
    from torch import nn

    class SqueezeExcite(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.squeeze, self.excite = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
            return x * nn.functional.hardsigmoid(gate)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                nn.BatchNorm2d(width, momentum=None),
                nn.Hardswish(),
                SqueezeExcite(),
                nn.Conv2d(width, width, 1, bias=False),
                nn.BatchNorm2d(width, momentum=None),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = x + self.body(x)
            return y

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(input_shape[0], width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width, momentum=None),
            nn.Hardswish(),
            Block(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, n_outputs),
        )
        with torch.no_grad():
            # Without a momentum the statistics are plain averages, so that two batches are enough.
            for _ in range(2):
                network(torch.randn(16, *input_shape))
    return network.eval()


def ids_network(*, n_ids: int = 50, n_outputs: int = 5, seed: int = 0) -> Any:
    """A `torch.nn.Module` in eval mode that takes int64 ids `n x tokens`: the mean embedding of all but id 0."""
    import torch
    from torch import nn

    class Mean(nn.Module):
        keeps_fp32 = True

        def forward(self, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            shares = ((ids == 0).float() * -1e4).softmax(dim=1)
            return (shares[:, None, :] @ x).flatten(1)

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.mean, self.linear = nn.Embedding(n_ids, 16), Mean(), nn.Linear(16, n_outputs)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.linear(self.mean(self.words(ids), ids))
            return y

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Text().eval()


def kept_network(*, n_outputs: int = 5, seed: int = 0) -> Any:
    """A `torch.nn.Module` in eval mode that takes waveforms `n x 1 x samples`; its logarithm of powers keeps fp32."""
    import torch
    from torch import nn

    class Power(nn.Module):
        keeps_fp32 = True

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 8, 64, stride=32, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            logarithms: torch.Tensor = (y * y * 1e8 + 1).log().unsqueeze(1)
            return logarithms

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(Power(), *layers, nn.Linear(8, n_outputs)).eval()
