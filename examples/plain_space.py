"""A search space in fifteen lines: choices, and a function that builds the network. Each candidate is trained alone.

Run: python examples/plain_space.py --device jetson --trials 9
"""

from __future__ import annotations

import argparse

from torch import nn

import hwnas
from hwnas import Architecture, Choice, SearchSpace, Task


def build(architecture: Architecture, task: Task) -> nn.Module:
    """A chain of convolutions, the mean over the image, a linear layer."""
    layers: list[nn.Module] = []
    channels, width = task.input_shape[0], int(architecture["width"])
    for _ in range(int(architecture["depth"])):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, task.n_outputs))


SPACE = SearchSpace(name="chain", choices=[Choice("depth", (1, 2, 3)), Choice("width", (8, 16, 32))], build=build)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="jetson")
    parser.add_argument("--trials", type=int, default=9)
    arguments = parser.parse_args()
    result = hwnas.search(device=arguments.device, space=SPACE, task="digits", trials=arguments.trials, n_front=4)
    for model in result.front:
        latency = model.latency[result.details.devices[0]]
        doubt = "" if latency.measured or latency.in_domain else ", out of the predictor's domain"
        print(f"{model.id}  accuracy {model.accuracy:.3f}  {latency.best_ms:.3f} ms ({latency.source}{doubt})")
    print(f"run folder: {result.run_dir}")
