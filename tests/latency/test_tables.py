from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwnas.errors import DataError
from hwnas.latency.tables import read_table


def write(tmp_path: Path, content: str | dict[str, list[Any]]) -> Path:
    if isinstance(content, str):
        path = tmp_path / "t.csv"
        path.write_text(content, encoding="utf-8")
        return path
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(content), path)
    return path


ROWS = [{"width": 8, "op": "a", "latency": 0.5}, {"width": 16, "op": "none", "latency": 2.0}]


@pytest.mark.parametrize(
    "content",
    [
        "width,op,latency\n8,a,0.5\n16,none,2.0\n",
        '\ufeffwidth, "op",latency\r\n8,"a",5e-1\r\n\r\n16,none, 2.0\r\n',
        {"width": [8, 16], "op": ["a", "none"], "latency": [0.5, 2.0]},
    ],
    ids=["csv", "csv of a spreadsheet", "parquet"],
)
def test_rows_are_mappings(tmp_path: Path, content: str | dict[str, list[Any]]) -> None:
    path = write(tmp_path, content)
    assert read_table(path) == ROWS
    assert read_table(path, ["op", "width"]) == [{"width": row["width"], "op": row["op"]} for row in ROWS]
    assert read_table(path, ["op"], optional=["latency", "absent"])[1] == {"op": "none", "latency": 2.0}


def test_text_that_only_python_takes_for_a_number_is_text(tmp_path: Path) -> None:
    (row,) = read_table(write(tmp_path, "a,b,c,d\nnan,1_000,٣,-Infinity\n"))
    assert row == {"a": "nan", "b": "1_000", "c": "٣", "d": "-Infinity"}


def test_an_optional_value_may_be_missing(tmp_path: Path) -> None:
    for content in ("a,b\n1,\n2,x\n", {"a": [1, 2], "b": [None, "x"]}):
        assert read_table(write(tmp_path, content), ["a"], optional=["b"]) == [{"a": 1}, {"a": 2, "b": "x"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no column 'a'; it has none"),
        ("a\n", "has no rows"),
        ("b\n1\n", "no column 'a'; it has b"),
        ("a,a\n1,2\n", r"columns \['a'\] are there twice"),
        ("a,b\n1,2\n3\n", "row 2: 1 cells for 2 columns"),
        ("a,b\n1,2\n,3\n", "row 2: no value in column 'a'"),
        ('a\n1\n"2\n', "row 2: cannot be read as CSV"),
        ({"b": [1]}, "no column 'a'; it has b"),
        ({"a": []}, "has no rows"),
        ({"a": [1, None]}, "row 2: no value in column 'a'"),
        ({"a": [[1], [2]]}, "row 1, column 'a': list is no number"),
        ({"a": [b"x"]}, "row 1, column 'a': bytes is no number"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str | dict[str, list[Any]], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_table(write(tmp_path, content), ["a"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("none.csv", None, "no file"),
        ("t.xlsx", b"PK", "is no table; allowed: files that end in .csv, .parquet"),
        ("t.parquet", b"PAR1 but not really", "cannot be read as parquet"),
        ("t.parquet", b"", "cannot be read as parquet"),
        ("t.csv", b"a\n\xff\xfe\n", "cannot be read as CSV in UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, data: bytes | None, said: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / name)
