"""A residual network as people write them, for tests that compress one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.core.task import TaskLike


class Block(nn.Module):
    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.short: nn.Module = nn.Identity()
        if given != width:
            self.short = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.short(x))


class Residual(nn.Module):
    def __init__(self, channels: int, n_outputs: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.layer1 = nn.Sequential(Block(width, width, 1), Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2), Block(2 * width, 2 * width, 1))
        self.head = nn.Linear(2 * width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.layer2(self.layer1(self.stem(x))).mean((2, 3)))
        return y


def build(task: TaskLike) -> nn.Module:
    return Residual(task.input_shape[0], task.n_outputs)
