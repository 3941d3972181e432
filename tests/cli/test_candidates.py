from __future__ import annotations

import json
from pathlib import Path

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
        ('{"architecture": {"width": 8, "op": "a"}, "compression": 4}', "line 1: not an architecture"),
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
