from __future__ import annotations

import torch
from outlier import digits, with_an_outlier
from torch import Tensor

from hwnas.compress.quantize import layers_to_round, simulate
from hwnas.compress.sensitive import keep_in_fp32, most_sensitive


def samples() -> Tensor:
    task = digits()
    return torch.from_numpy(task.preprocessing(task.train.inputs[:64]))


def test_the_layers_around_an_outlier_are_the_most_sensitive() -> None:
    model = with_an_outlier()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = most_sensitive(model, samples())
    assert set(found[:2]) == {"0", "2"}
    assert len(found) == len(layers_to_round(model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_kept_layers_are_not_rounded() -> None:
    model, inputs = with_an_outlier(), samples()
    names = most_sensitive(model, inputs)
    whole = keep_in_fp32(model, names)
    assert layers_to_round(whole) == []
    with torch.inference_mode():
        torch.testing.assert_close(simulate(whole, "int8", inputs)(inputs), model(inputs))
        gaps = []
        for of in (model, keep_in_fp32(model, names[:2])):
            gaps.append((simulate(of, "int8", inputs)(inputs) - model(inputs)).square().mean())
    assert gaps[1] < gaps[0] / 10
    assert len(layers_to_round(model)) == len(names)  # it is not marked itself
