from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.compress.distill import fine_tune
from hwnas.core.task import Task
from hwnas.tasks.digits import load


def block(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def small_cnn(width: int = 16, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            block(1, width, 3),
            block(width, width, 3, groups=width),
            block(width, 2 * width, 3, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, 10),
        )


@pytest.fixture(scope="session")
def digits() -> Task:
    return load()


@pytest.fixture
def fresh() -> nn.Sequential:
    return small_cnn()


@pytest.fixture(scope="session")
def trained(digits: Task) -> nn.Module:
    """A small network that reads digits well."""
    model = fine_tune(small_cnn(), digits, epochs=12, lr=1e-2).model
    return model.requires_grad_(False)
