from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.compress.distill import fine_tune
from hwnas.core.task import Split, Task
from hwnas.elastic.data import accuracy
from hwnas.errors import ConfigError, TrainingError


def test_training_learns_and_leaves_the_model_alone(fresh: nn.Module, digits: Task) -> None:
    before = {name: tensor.clone() for name, tensor in fresh.state_dict().items()}
    result = fine_tune(fresh, digits, epochs=4, lr=1e-2)
    assert result.initial_accuracy < 0.3
    assert result.accuracy > 0.7
    assert result.epochs == 4
    assert not result.model.training
    assert result.accuracy == accuracy(result.model, digits.validation, digits.preprocessing)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())


def test_the_test_split_is_not_read(fresh: nn.Module, digits: Task) -> None:
    hidden = replace(digits, test=None)  # type: ignore[arg-type]
    assert fine_tune(fresh, hidden, epochs=1, lr=1e-2).epochs == 1


def test_the_same_seed_gives_the_same_weights(fresh: nn.Module, digits: Task) -> None:
    model = nn.Sequential(fresh, nn.Dropout(0.2))
    results = [fine_tune(model, digits, epochs=2, lr=1e-2, seed=seed).model.state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])
    assert not all(torch.equal(results[0][name], results[2][name]) for name in results[0])


def test_the_global_generator_is_left_alone(fresh: nn.Module, digits: Task) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fine_tune(nn.Sequential(fresh, nn.Dropout(0.5)), digits, epochs=1, lr=1e-2)
    assert torch.equal(torch.rand(1), expected)


def test_never_worse_than_it_came(trained: nn.Module, digits: Task) -> None:
    # Wrong labels would ruin the network; the weights that came in are the best that were seen.
    wrong = Split(digits.train.inputs, (digits.train.labels + 1) % 10)
    seen: list[tuple[int, float, float]] = []
    result = fine_tune(
        trained, replace(digits, train=wrong), epochs=9, lr=1e-2, patience=3, on_epoch=lambda *row: seen.append(row)
    )
    assert result.accuracy == result.initial_accuracy
    assert result.epochs == 3
    assert [epoch for epoch, _, _ in seen] == [1, 2, 3]
    assert max(reached for _, reached, _ in seen) <= result.initial_accuracy
    assert all(math.isfinite(loss) for _, _, loss in seen)
    state = trained.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in result.model.state_dict().items())


def test_a_teacher_teaches(fresh: nn.Module, trained: nn.Module, digits: Task) -> None:
    # Labels that say nothing: what the student learns comes from the teacher.
    noise = np.random.default_rng(0).integers(0, 10, len(digits.train))
    blind = replace(digits, train=Split(digits.train.inputs, noise))
    alone = fine_tune(fresh, blind, epochs=5, lr=1e-2)
    taught = fine_tune(fresh, blind, epochs=5, lr=1e-2, teacher=trained)
    assert taught.accuracy > alone.accuracy + 0.2


def test_a_student_outgrows_a_teacher_that_knows_less(fresh: nn.Module, digits: Task) -> None:
    labels = torch.from_numpy(digits.train.labels)
    wrong = 10 * nn.functional.one_hot((labels + 1) % 10, 10).float()
    misled = fine_tune(fresh, digits, epochs=6, lr=3e-3, teacher=wrong)
    alone = fine_tune(fresh, digits, epochs=6, lr=3e-3)
    assert misled.accuracy > alone.accuracy - 0.05


def test_the_teacher_is_not_changed(fresh: nn.Module, trained: nn.Module, digits: Task) -> None:
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    fine_tune(fresh, digits, epochs=1, lr=1e-2, teacher=trained.train())
    assert trained.training
    trained.eval()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_no_epochs_reads_the_accuracy(trained: nn.Module, digits: Task) -> None:
    result = fine_tune(trained, digits, epochs=0, lr=1e-2)
    assert result.accuracy == result.initial_accuracy == accuracy(trained, digits.validation, digits.preprocessing)


def test_time_is_up(fresh: nn.Module, digits: Task) -> None:
    result = fine_tune(fresh, digits, epochs=10_000, lr=1e-2, stop_after_s=0.0)
    assert result.epochs == 1


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(fresh: nn.Sequential, digits: Task, poison: float) -> None:
    with torch.no_grad():
        fresh[-1].weight.fill_(poison)
    with pytest.raises(TrainingError, match=r"the loss is .* after 0 steps at learning rate 0.01; try a lower"):
        fine_tune(fresh, digits, epochs=1, lr=1e-2)


@pytest.mark.parametrize(
    "wrong", [{"epochs": -1}, {"lr": 0.0}, {"lr": float("nan")}, {"batch_size": 0}, {"patience": 0}]
)
def test_bad_settings(fresh: nn.Module, digits: Task, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="fine_tune needs"):
        fine_tune(fresh, digits, **{"epochs": 1, "lr": 0.1, **wrong})


@pytest.mark.gpu
def test_on_a_gpu(fresh: nn.Module, trained: nn.Module, digits: Task) -> None:
    result = fine_tune(fresh, digits, epochs=4, lr=1e-2, teacher=trained)
    assert result.accuracy > 0.7
    assert all(not tensor.is_cuda for tensor in result.model.state_dict().values())
