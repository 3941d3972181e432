from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from hwnas.cli.candidates import read_candidates
from hwnas.core.space import Choice, SearchSpace
from hwnas.errors import HwnasError

SPACE = SearchSpace("mine", [Choice("width", (8, 16, 32)), Choice("op", ("a", "b"))], lambda architecture, task: None)


def test_both_forms_of_a_line_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    values = {"width": 8, "op": "a"}
    lines = [values, {"architecture": values}, {"architecture": values, "compression": {"precision": "int8"}}]
    path.write_text("\n\n".join(map(json.dumps, lines)))
    found = read_candidates(path, SPACE, precision="fp32")
    assert [candidate.compression.precision for candidate in found] == ["fp32", "fp32", "int8"]
    assert {candidate.architecture for candidate in found} == {SPACE.architecture(values)}


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".parquet"])
def test_a_table_has_one_column_a_choice(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    columns = {"op": ["a", "b"], "latency_ms": [1.5, 2.5], "width": [8.0, 32.0]}
    table = pa.table(columns)
    pq.write_table(table, path) if suffix == ".parquet" else pa_csv.write_csv(table, path)
    found = read_candidates(path, SPACE, precision="fp16")
    assert [candidate.architecture for candidate in found] == [
        SPACE.architecture({"width": 8, "op": "a"}),
        SPACE.architecture({"width": 32, "op": "b"}),
    ]
    # An architecture's id is that of its options, not of how a file writes them.
    assert found[0].architecture.id == SPACE.architecture({"width": 8, "op": "a"}).id
    assert {candidate.compression.precision for candidate in found} == {"fp16"}


def test_a_table_may_name_precisions(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("width,op,precision\n8,a,int8\n8,b,\n")
    found = read_candidates(path, SPACE, precision="fp32")
    assert [candidate.compression.precision for candidate in found] == ["int8", "fp32"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width\n8\n", "no column 'op'; it has width"),
        ("width,op\n8,a\n9,a\n", r"row 2: 'width' must be one of"),
        ("width,op\n8,a\n16,\n", "row 2: no value in column 'op'"),
        ("width,op,precision\n8,a,int9\n", "row 1: unknown precision 'int9'"),
        ("width,op\n", "has no rows"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(HwnasError, match=message):
        read_candidates(path, SPACE, precision="fp32")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("{", "line 1: not an architecture"),
        ("3", "line 1: not an architecture"),
        ("[]", "line 1: not an architecture"),
        ('{"width": 8, "op": "a"}\n{"width": 9, "op": "a"}', "line 2: 'width' must be one of"),
        ('{"width": 8}', r"line 1: space 'mine': labels \['op'\]"),
        ('{"architecture": 3}', "line 1: not an architecture"),
        ('{"architecture": {"width": 8, "op": "a"}, "compression": {"precision": "fp3"}}', "unknown precision"),
        ('{"architecture": {"width": 8, "op": "a"}, "compression": 4}', "line 1: a compression plan is"),
        (
            '{"architecture": {"width": 8, "op": "a"}, "compression": {"prune": {"a": 1.0}}}',
            "line 1: prune ratio .* got 1.0",
        ),
        ('{"architecture": {"width": 8, "op": "a"}, "compression": {"prune": {"a": NaN}}}', "got nan"),
        ('{"architecture": {"width": 8, "op": "a"}, "compression": {"prune": {"a": "x"}}}', "got 'x'"),
        ('{"architecture": {"width": 8, "op": "a"}, "compression": {"precision": "int4"}}', "unknown precision 'int4'"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(HwnasError, match=message):
        read_candidates(path, SPACE, precision="fp32")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HwnasError, match="no file"):
        read_candidates(tmp_path / "none", SPACE, precision="fp32")
