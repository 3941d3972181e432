from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.search.per_device import folder_of, read_each, write_each


@pytest.mark.parametrize(
    ("values", "written"), [({"a": 1.5}, 1.5), ({"a": 1.5, "b": 2.5}, {"a": 1.5, "b": 2.5}), ({"a": {}}, {})]
)
def test_one_device_is_written_as_before_there_were_several(values: dict[str, object], written: object) -> None:
    assert write_each(values) == written
    assert read_each(written, list(values)) == values


def test_the_order_is_that_of_the_devices() -> None:
    assert list(read_each({"b": 2, "a": 1}, ("a", "b"))) == ["a", "b"]


def test_folders() -> None:
    assert folder_of(Path("predictors"), "a", ("a",)) == Path("predictors")
    assert folder_of(Path("predictors"), "a", ("a", "b")) == Path("predictors/a")
