from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas.core.task import Preprocessing, Split, Task, check_data
from hwnas.errors import DataError


def test_preprocessing_is_its_formula() -> None:
    preprocessing = Preprocessing((1, 2), 2, (0.5, 0.25), (0.5, 0.125))
    inputs = np.array([[[[0, 255]], [[51, 102]]]], dtype=np.uint8)
    expected = [[[[-1, 1]], [[(0.2 - 0.25) / 0.125, (0.4 - 0.25) / 0.125]]]]
    found = preprocessing(inputs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_preprocessing_for_a_manifest() -> None:
    raw = json.loads(json.dumps(Preprocessing((8, 9), 1, (0.5,), (0.25,)).to_json()))
    assert raw["size"] == [8, 9]
    assert raw["layout"] == "NCHW"
    assert raw["scale"] == pytest.approx(1 / 255)


@pytest.mark.parametrize(("inputs", "labels", "message"), [(3, 2, "3 inputs but 2 labels"), (0, 0, "is empty")])
def test_bad_splits(inputs: int, labels: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Split(np.zeros((inputs, 1, 2, 2), np.uint8), np.zeros(labels, np.int64))


def test_split_has_a_length() -> None:
    assert len(Split(np.zeros((3, 1, 2, 2), np.uint8), np.zeros(3, np.int64))) == 3


def changed(task: Task, split: str, change: Callable[[Any, Any], tuple[Any, Any]]) -> Task:
    kept = getattr(task, split)
    return replace(task, **{split: Split(*change(kept.inputs.copy(), kept.labels.copy()))})


def with_value(value: float) -> Callable[[Any, Any], tuple[Any, Any]]:
    def change(inputs: Any, labels: Any) -> tuple[Any, Any]:
        found = inputs.astype(np.float32)
        found[[3, 7], 0, 2, 2] = value
        return found, labels

    return change


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_value(np.nan), "sample 3 of the {split} split .* is not finite"),
        (with_value(np.inf), "sample 3 of the {split} split .* is not finite"),
        (lambda x, y: (x[..., :4], y), r"the {split} split .* shape \(1, 8, 4\), the task says \(1, 8, 8\)"),
        (lambda x, y: (x, y + 1), "the {split} split .* from 0 to 9; got 1 to 10"),
        (lambda x, y: (x, y - 1), "the {split} split .* from 0 to 9; got -1 to 8"),
        (lambda x, y: (x, y.astype(np.int32)), "the {split} split .* int64"),
        (lambda x, y: (x, y / 2), "the {split} split .* got others .float64"),
        (lambda x, y: (x, y.astype(str)), "the {split} split .* got others"),
        (lambda x, y: (x, y[:, None]), "the {split} split .* shape"),
    ],
    ids=["nan", "inf", "shape", "above", "below", "int32", "float", "text", "two-dimensional"],
)
def test_data_that_is_no_good(
    few_digits: Task, split: str, change: Callable[[Any, Any], tuple[Any, Any]], message: str
) -> None:
    check_data(few_digits)
    with pytest.raises(DataError, match=message.format(split=split)):
        check_data(changed(few_digits, split, change))


@pytest.mark.parametrize(("n", "names"), [(1, ("a",)), (0, ()), (10, ("a", "b"))])
def test_classes_that_are_none(few_digits: Task, n: int, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="two classes or more and a name for each"):
        check_data(replace(few_digits, n_outputs=n, class_names=names))
