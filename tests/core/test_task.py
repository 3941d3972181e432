from __future__ import annotations

import json

import numpy as np
import pytest

from hwnas.core.task import Preprocessing, Split
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
