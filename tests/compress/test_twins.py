from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.compress.twins import TWINS, read_twins, write_twins


def test_is_the_same_after_a_file(tmp_path: Path) -> None:
    assert read_twins(tmp_path) == {}
    write_twins(tmp_path, {"b": 0.5, "a": 1.0})
    assert read_twins(tmp_path) == {"a": 1.0, "b": 0.5}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": 2, "split": "validation", "accuracy": {}}',
        '{"schema": 1, "split": "validation"}',
        '{"schema": 1, "split": "validation", "accuracy": {"a": "high"}}',
        '{"schema": 1, "split": "validation", "accuracy": {"a": NaN}}',
    ],
)
def test_what_is_damaged_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / TWINS).write_text(text)
    assert read_twins(tmp_path) == {}
