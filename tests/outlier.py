"""A network that int8 ruins: one channel between its first two convolutions is much larger than all others."""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
from torch import nn

from hwnas.compress.distill import fine_tune
from hwnas.core.task import Task
from hwnas.elastic.threads import threads_for
from hwnas.tasks.digits import load

BY = 3000.0  # more than the 255 steps of a tensor's range


@lru_cache(maxsize=1)
def digits() -> Task:
    return load()


@lru_cache(maxsize=1)
def _trained() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for given in (1, *[16] * 5):
            layers += [nn.Conv2d(given, 16, 3, padding=1), nn.ReLU()]
        network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(64, 10))
    with threads_for(1e6):  # it is small: two threads would wait for each other
        return fine_tune(network, digits(), epochs=3, lr=3e-3, batch_size=32).model


def with_an_outlier() -> nn.Module:
    """Trained on digits; at full precision it answers as it would without the outlier."""
    network = copy.deepcopy(_trained())
    first, second = network.get_submodule("0"), network.get_submodule("2")
    with torch.no_grad():
        first.get_parameter("weight")[0] *= BY
        first.get_parameter("bias")[0] *= BY
        second.get_parameter("weight")[:, 0] /= BY
    return network
