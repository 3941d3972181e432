from __future__ import annotations

import pytest
import torch
from torch import nn

from hwnas.accuracy.recalibrate import recalibrate


def test_the_statistics_are_the_mean_of_the_batches() -> None:
    batches = [torch.randn(8, 3, 4, 4) * 2 + 5, torch.randn(8, 3, 4, 4) - 1]
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.running_mean.fill_(99)
        norm.running_var.fill_(99)
    assert recalibrate(norm, batches) is norm
    mean = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    var = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)


def test_a_later_layer_sees_what_the_first_normalises_by_the_batch() -> None:
    x = torch.randn(64, 2) * 3 + 1
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2), nn.BatchNorm1d(2))
    recalibrate(model, [x])
    normal = (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5)
    torch.testing.assert_close(model[2].running_mean, model[1](normal).mean(0).detach())
    torch.testing.assert_close(model(x).mean(0), torch.zeros(2), atol=0.1, rtol=0)


def test_the_rest_of_the_model_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4, momentum=0.3), nn.Dropout(0.9)).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    recalibrate(model, [torch.randn(8, 2)])
    assert model[1].momentum == 0.3
    assert not any(layer.training for layer in model.modules())
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("inputs", [[], [torch.randn(4, 2)]])
def test_a_model_without_batch_norm(inputs: list[torch.Tensor]) -> None:
    model = nn.Sequential(nn.Linear(2, 2)).train()
    assert not recalibrate(model, inputs).training
