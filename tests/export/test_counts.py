from __future__ import annotations

import torch
from torch import nn

from hwnas.export.counts import count


def test_closed_form_of_a_small_network() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
    ).eval()
    found = count(model, (3, 4, 4))
    assert found["operators"] == {"conv": 3 * 8 * 9 * 16, "linear": 8 * 16 * 5}
    assert found["macs"] == 3 * 8 * 9 * 16 + 8 * 16 * 5
    assert found["params"] == 3 * 8 * 9 + 2 * 8 + 8 * 16 * 5 + 5
    assert found["source"] == "fvcore"


class Gated(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.hardswish(x) * x


def test_what_fvcore_does_not_know_is_named() -> None:
    assert count(Gated().eval(), (3, 4, 4))["not_counted"] == {"aten::hardswish": 1, "aten::mul": 1}
