from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.accuracy.trained import TrainedEvaluator
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import Split, Task, TaskLike
from hwnas.elastic.data import accuracy
from hwnas.errors import BuildError, RunFolderError, TrainingError


def build(architecture: object, task: TaskLike) -> nn.Module:
    width = architecture["width"]  # type: ignore[index]
    conv = nn.Conv2d(task.input_shape[0], width, 3, 2, 1)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 16, task.n_outputs))


SPACE = SearchSpace("plain", [Choice("width", (4, 8))], build)
SMALL = Candidate(SPACE.smallest())


def evaluator(task: Task, folder: Path, space: SearchSpace = SPACE, epochs: int = 4) -> TrainedEvaluator:
    return TrainedEvaluator(space, task, epochs=epochs, seed=1, folder=folder / "trained")


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_trains_and_keeps_the_weights(few_digits: Task, tmp_path: Path) -> None:
    made = evaluator(few_digits, tmp_path, epochs=15)
    found = made.evaluate(SMALL)
    assert found.accuracy > 0.3  # guessing is 0.1
    assert (found.n, found.split, found.precision, found.source) == (100, "validation", "fp32", "trained")
    (kept,) = (tmp_path / "trained").iterdir()
    assert kept.name == f"{SMALL.architecture.id}.safetensors"
    network = made.network(SMALL)
    assert not network.training
    assert accuracy(network, few_digits.validation, few_digits.preprocessing) == found.accuracy


def test_kept_weights_are_not_trained_again(few_digits: Task, tmp_path: Path) -> None:
    first = evaluator(few_digits, tmp_path).network(SMALL)
    epochs: list[int] = []
    again = TrainedEvaluator(
        SPACE, few_digits, epochs=4, seed=1, folder=tmp_path / "trained", on_epoch=lambda e, a, x: epochs.append(e)
    )
    second = again.network(SMALL)
    assert not epochs
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    # Another precision of the same network needs no training either.
    assert again.evaluate(Candidate(SMALL.architecture, CompressionPlan("int8"))).precision == "int8"
    assert not epochs


def test_the_best_go_on_with_their_training(few_digits: Task, tmp_path: Path) -> None:
    made = evaluator(few_digits, tmp_path, epochs=2)
    first = made.network(SMALL)
    epochs: list[int] = []
    closer = made.closer()
    assert closer is not None
    assert closer.closer() is None
    closer.on_epoch = lambda epoch, accuracy, loss: epochs.append(epoch)
    found = closer.evaluate(SMALL)
    assert epochs == [1, 2, 3, 4]
    longest = made.network(SMALL)  # what is finished later
    assert not same_weights(first, longest)
    assert accuracy(longest, few_digits.validation, few_digits.preprocessing) == found.accuracy
    assert made.evaluate(SMALL).accuracy == accuracy(first, few_digits.validation, few_digits.preprocessing)


def test_what_was_not_trained_before_is_trained_alike(few_digits: Task, tmp_path: Path) -> None:
    in_steps, at_once = evaluator(few_digits, tmp_path / "a", epochs=2), evaluator(few_digits, tmp_path / "b", epochs=2)
    in_steps.evaluate(SMALL)
    found = [made.closer() for made in (in_steps, at_once)]
    one, two = (made.network(SMALL) for made in found if made is not None and made.evaluate(SMALL))
    assert same_weights(one, two)


def test_the_same_seed_gives_the_same_weights(few_digits: Task, tmp_path: Path) -> None:
    torch.manual_seed(5)
    one = evaluator(few_digits, tmp_path / "a").network(SMALL)
    torch.manual_seed(6)
    two = evaluator(few_digits, tmp_path / "b").network(SMALL)
    assert same_weights(one, two)


@pytest.mark.parametrize("damage", ["cut", "empty", "another"])
def test_damaged_weights(few_digits: Task, tmp_path: Path, damage: str) -> None:
    made = evaluator(few_digits, tmp_path, epochs=1)
    made.network(SMALL)
    made.network(Candidate(SPACE.largest()))
    path, other = (
        tmp_path / "trained" / f"{architecture.id}.safetensors" for architecture in (SPACE.smallest(), SPACE.largest())
    )
    data = path.read_bytes()
    path.write_bytes({"cut": data[:50], "empty": b"", "another": other.read_bytes()}[damage])
    with pytest.raises(RunFolderError, match="damaged or of another network"):
        made.network(SMALL)


def raises(error: Exception) -> Callable[..., nn.Module]:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    return lambda architecture, task: Broken()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda a, t: {}["width"], "KeyError"),
        (lambda a, t: None, "must return nn.Module, got NoneType"),
        (lambda a, t: nn.Flatten(), r"\(2, 64\)"),
        (lambda a, t: nn.LSTM(8, 2), "does not run"),
        (lambda a, t: nn.Linear(3, 10), "does not run"),
        (raises(KeyError("deep")), "deep"),
        (raises(AttributeError("no such layer")), "no such layer"),
    ],
)
def test_a_wrong_network(few_digits: Task, tmp_path: Path, wrong: Callable[..., nn.Module], said: str) -> None:
    space = SearchSpace("plain", [Choice("width", (4, 8))], wrong)
    with pytest.raises(BuildError, match=said) as caught:
        evaluator(few_digits, tmp_path, space).evaluate(SMALL)
    assert "{'width': 4}" in str(caught.value)


def test_data_that_are_not_finite(few_digits: Task, tmp_path: Path) -> None:
    inputs = np.full(few_digits.train.inputs.shape, np.nan, dtype=np.float32)
    task = replace(few_digits, train=Split(inputs, few_digits.train.labels))
    with pytest.raises(TrainingError, match="loss is nan"):
        evaluator(task, tmp_path).evaluate(SMALL)


def test_nobody_teaches(few_digits: Task, tmp_path: Path) -> None:
    assert evaluator(few_digits, tmp_path).teacher() is None
