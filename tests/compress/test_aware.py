from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hwnas.compress.aware import train_aware
from hwnas.compress.quantize import fold_batch_norm, simulate
from hwnas.core.task import Task
from hwnas.elastic.data import accuracy
from hwnas.plugins import load_plugin


@pytest.fixture(scope="module")
def task() -> Task:
    found: Task = load_plugin("task", "digits")(None, input_shape=None, seed=0)
    return found


@pytest.fixture(scope="module")
def samples(task: Task) -> torch.Tensor:
    return torch.from_numpy(task.preprocessing(task.train.inputs[:64]))


@pytest.fixture(scope="module")
def network(task: Task) -> nn.Module:
    """Trained a little, with batch norm and an activation that a runtime fuses."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12), nn.Hardswish(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10),
    )  # fmt: skip
    inputs = torch.from_numpy(task.preprocessing(task.train.inputs))
    labels = torch.from_numpy(task.train.labels)
    optimiser = torch.optim.AdamW(made.parameters(), 5e-3)
    for _ in range(40):
        some = torch.randint(len(labels), (128,))
        loss = nn.functional.cross_entropy(made(inputs[some]), labels[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made.eval()


def test_what_it_begins_with_is_what_is_simulated(task: Task, network: nn.Module, samples: torch.Tensor) -> None:
    before = copy.deepcopy(network.state_dict())
    found = train_aware(network, task, samples, epochs=0, lr=1e-3)
    simulated = simulate(network, "int8", samples)
    assert found.initial_accuracy == found.accuracy == accuracy(simulated, task.validation, task.preprocessing)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    inputs = samples[:8]
    with torch.no_grad():  # nothing was learned: the same network, batch norm folded
        assert torch.allclose(found.model(inputs), fold_batch_norm(network)(inputs))


def test_it_learns_to_be_rounded(task: Task, network: nn.Module, samples: torch.Tensor) -> None:
    """At three bits, where rounding costs most: it gains what was lost, and stays plain."""
    lost = train_aware(network, task, samples, weight_bits=3, epochs=0, lr=1e-3)
    found = train_aware(network, task, samples, weight_bits=3, epochs=4, lr=1e-3, batch_size=32)
    assert found.accuracy > lost.accuracy
    assert not any(isinstance(module, nn.BatchNorm2d) for module in found.model.modules())
    assert not any("parametrizations" in name for name in found.model.state_dict())
    assert not any(module._forward_hooks for module in found.model.modules())
    again = simulate(found.model, "int8", samples, weight_bits=3)
    reached = accuracy(again, task.validation, task.preprocessing)
    # Ranges are read anew from the weights that were learned, so that it is not the same to the last sample.
    assert reached > lost.accuracy
    assert reached == pytest.approx(found.accuracy, abs=0.05)


def test_what_keeps_fp32_is_not_rounded(task: Task, network: nn.Module, samples: torch.Tensor) -> None:
    kept = copy.deepcopy(network)
    for module in kept.modules():
        module.keeps_fp32 = True  # type: ignore[assignment]
    found = train_aware(kept, task, samples, weight_bits=2, epochs=0, lr=1e-3)
    assert found.accuracy == accuracy(network, task.validation, task.preprocessing)
