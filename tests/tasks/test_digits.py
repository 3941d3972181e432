from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hwnas.core.task import Task
from hwnas.errors import ConfigError, DataError
from hwnas.tasks.digits import load


@pytest.fixture(scope="module")
def task() -> Task:
    return load()


def test_sizes_and_shapes(task: Task) -> None:
    assert (len(task.train), len(task.validation), len(task.test)) == (897, 300, 600)
    assert task.train.inputs.shape == (897, *task.input_shape) == (897, 1, 8, 8)
    assert task.train.inputs.dtype == np.uint8
    assert task.train.labels.dtype == np.int64
    assert task.n_outputs == len(task.class_names) == 10
    assert task.augmentation == "shift"
    assert task.preprocessing.size == (8, 8)


def test_each_sample_is_in_one_split_only(task: Task) -> None:
    found = np.concatenate([split.inputs.reshape(-1, 64) for split in (task.train, task.validation, task.test)])
    expected = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


def test_splits_are_stratified(task: Task) -> None:
    whole = np.bincount(load_digits().target) / 1797
    for split in (task.train, task.validation, task.test):
        assert abs(np.bincount(split.labels) - whole * len(split)).max() < 2


def test_the_split_is_the_same_for_all_seeds(task: Task) -> None:
    assert load(None, seed=7).fingerprint == task.fingerprint


def test_another_input_shape() -> None:
    task = load(input_shape=(3, 16, 16))
    assert task.input_shape == (3, 16, 16)
    assert task.test.inputs.shape == (600, 3, 16, 16)
    assert task.preprocessing.channels == 3
    assert len(task.preprocessing.mean) == 3


def test_data_is_refused() -> None:
    with pytest.raises(DataError, match="built in and takes no --data, got x; for own images use --task images"):
        load(Path("x"))


def test_bad_input_shape() -> None:
    with pytest.raises(ConfigError, match="input_shape must be"):
        load(input_shape=(4, 8, 8))
