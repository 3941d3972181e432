"""A network that is trained already, pruned and quantized for a device.

Run: python examples/own_network.py --device cpu --trials 20
"""

from __future__ import annotations

import argparse

import torch
from torch import nn

import hwnas
from hwnas.compress.distill import fine_tune
from hwnas.core.gain import gains
from hwnas.tasks.digits import load


def build() -> nn.Module:
    """Three convolutions, the mean over the image, a linear layer."""
    layers: list[nn.Module] = []
    for given, width, stride in ((1, 32, 1), (32, 32, 1), (32, 64, 2)):
        layers += [nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trials", type=int, default=20)
    arguments = parser.parse_args()
    task = load()
    torch.manual_seed(0)
    network = fine_tune(build(), task, epochs=5, lr=3e-3).model  # stands for a training of your own
    result = hwnas.compress(network, device=arguments.device, task=task, trials=arguments.trials, n_front=3)
    original, device = result.original, result.details.devices[0]
    assert original is not None
    print(f"{original.id}  the network itself: accuracy {original.accuracy:.3f}")
    for gain in gains(result.details, original, device):
        source = "predicted" if gain.faster_measured is None else "measured"
        print(f"{gain.id}  {gain.faster:.2f} times as fast ({source}), {gain.points_lost:.2f} points of accuracy lost")
    print(f"run folder: {result.run_dir}")
