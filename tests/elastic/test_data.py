from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.core.task import Preprocessing, Split
from hwnas.elastic.data import accuracy, batch_for, batches, device_of, normalised
from hwnas.errors import ConfigError

PREPROCESSING = Preprocessing((4, 5), 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))


def split(count: int) -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (count, 3, 4, 5), dtype=np.uint8), np.arange(count, dtype=np.int64))


def test_normalised_is_the_preprocessing() -> None:
    inputs = split(50).inputs
    found = normalised(inputs, PREPROCESSING)
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(found.numpy(), PREPROCESSING(inputs), atol=2e-6)


def test_normalised_leaves_the_raw_inputs_alone() -> None:
    inputs = split(3).inputs.astype(np.float32)
    before = inputs.copy()
    normalised(inputs, PREPROCESSING)
    np.testing.assert_array_equal(inputs, before)


def test_a_walk_in_order_sees_every_sample_once() -> None:
    data = split(10)
    walk = list(batches(data, PREPROCESSING, 4))
    assert [len(labels) for _, labels in walk] == [4, 4, 2]
    assert torch.cat([labels for _, labels in walk]).tolist() == list(range(10))
    assert torch.equal(torch.cat([inputs for inputs, _ in walk]), normalised(data.inputs, PREPROCESSING))


@pytest.mark.parametrize(("count", "expected"), [(10, [4, 4]), (8, [4, 4]), (3, [3]), (5, [4])])
def test_a_shuffled_walk_leaves_a_remainder_out(count: int, expected: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    walk = list(batches(split(count), PREPROCESSING, 4, shuffle=True, generator=generator))
    labels = torch.cat([labels for _, labels in walk]).tolist()
    assert [len(labels) for _, labels in walk] == expected
    assert len(set(labels)) == len(labels)


def test_shuffled_inputs_keep_their_labels() -> None:
    data = split(20)
    for inputs, labels in batches(data, PREPROCESSING, 5, shuffle=True, generator=torch.Generator().manual_seed(1)):
        assert torch.equal(inputs, normalised(data.inputs[labels.numpy()], PREPROCESSING))


def test_epochs_differ_and_seeds_repeat() -> None:
    def order(generator: torch.Generator) -> list[int]:
        walk = batches(split(20), PREPROCESSING, 5, shuffle=True, generator=generator)
        return torch.cat([labels for _, labels in walk]).tolist()

    generator = torch.Generator().manual_seed(1)
    first, second = order(generator), order(generator)
    assert first != second
    assert order(torch.Generator().manual_seed(1)) == first


def test_limit() -> None:
    labels = torch.cat([labels for _, labels in batches(split(10), PREPROCESSING, 4, limit=6)])
    assert labels.tolist() == list(range(6))


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"batch_size": 1, "limit": 0}, {"batch_size": 1, "shuffle": True}]
)
def test_bad_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        next(batches(split(3), PREPROCESSING, **wrong))


class Oracle(nn.Module):
    """Answers the number that is written in the first pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        value = (x[:, 0, 0, 0] * 0.2 + 0.5) * 255
        return -(value[:, None] - torch.arange(10)).abs()


@pytest.mark.parametrize("training", [True, False])
def test_accuracy_counts(training: bool) -> None:
    inputs = np.zeros((8, 3, 4, 5), np.uint8)
    inputs[:, 0, 0, 0] = [0, 1, 2, 3, 4, 5, 6, 7]
    labels = np.array([0, 1, 2, 3, 0, 0, 0, 7], np.int64)
    model = Oracle().train(training)
    assert accuracy(model, Split(inputs, labels), PREPROCESSING, batch_size=3) == 5 / 8
    assert accuracy(model, Split(inputs, labels), PREPROCESSING, limit=4) == 1.0
    assert model.training is training


def test_the_mode_is_put_back_after_a_failure() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        accuracy(model, split(3), PREPROCESSING)
    assert model.training


def test_device_of() -> None:
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(nn.ReLU()).type == "cpu"


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    inputs, labels = next(batches(split(8), PREPROCESSING, 8, device="cuda"))
    assert inputs.is_cuda
    assert labels.is_cuda
    np.testing.assert_allclose(inputs.cpu().numpy(), PREPROCESSING(split(8).inputs), atol=2e-6)


@pytest.mark.parametrize(("side", "most", "wanted"), [(8, 256, 256), (64, 256, 256), (224, 256, 20), (32, 128, 128)])
def test_large_images_come_in_small_batches(side: int, most: int, wanted: int) -> None:
    inputs = np.broadcast_to(np.zeros((1, 1, side, side), np.uint8), (4, 1, side, side))
    assert batch_for(Split(inputs, np.zeros(4, np.int64)), most) == wanted
