from __future__ import annotations

import json
import re

import pytest

from hwnas.core.graph_record import GraphRecord, layers_in_fp32
from hwnas.errors import RunFolderError

PLAIN = {"before": {"Conv": 2}, "after": None, "fused": {}, "precisions": {"int8": 1, "fp32": 1}, "notes": ["a"]}


def test_is_the_same_after_a_file() -> None:
    record = GraphRecord(before={"Conv": 2}, fused={}, precisions={"fp32": 1, "int8": 1}, notes=("a",))
    assert GraphRecord.from_json(json.loads(json.dumps(record.to_json()))) == record
    assert GraphRecord.from_json(GraphRecord().to_json()) == GraphRecord()


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (None, "graph"),
        ({**PLAIN, "more": 1}, "more"),
        ({key: value for key, value in PLAIN.items() if key != "after"}, "after"),
        ({**PLAIN, "before": {"Conv": -1}}, "before.Conv"),
        ({**PLAIN, "before": {"Conv": True}}, "before.Conv"),
        ({**PLAIN, "precisions": ["int8"]}, "precisions"),
        ({**PLAIN, "notes": [1]}, "notes"),
        ({**PLAIN, "notes": "text"}, "notes"),
    ],
)
def test_damage_is_named(raw: object, named: str) -> None:
    with pytest.raises(RunFolderError, match=named):
        GraphRecord.from_json(raw)


@pytest.mark.parametrize(
    ("precision", "precisions", "kept", "words"),
    [
        ("fp32", {"fp32": 4}, False, None),
        ("int8", {"int8": 4}, False, None),
        ("int8", None, False, None),
        ("int8", {"int8": 3, "fp32": 1}, False, "1 of 4 convolutions"),
        ("int8", {"int8": 3, "fp32": 1}, True, "kept so on purpose"),
        ("fp16", {"fp32": 4}, False, "all 4 .* computes as it does at fp32"),
        ("fp16", {"fp32": 4}, True, "all 4 .* computes as it does at fp32"),
    ],
)
def test_a_precision_that_is_ignored_is_noted(
    precision: str, precisions: dict[str, int] | None, kept: bool, words: str | None
) -> None:
    notes = GraphRecord(precisions=precisions, notes=("before",)).held_against(precision, kept=kept).notes
    assert notes[0] == "before"
    assert len(notes) == (1 if words is None else 2)
    if words is not None:
        assert re.search(words, notes[1])


@pytest.mark.parametrize(
    ("manifest", "layers"),
    [
        ({}, ()),
        ({"mixed_precision": {"layers_in_fp32": ["a", "b.c"], "share_of_macs": 0.1}}, ("a", "b.c")),
        ({"mixed_precision": None}, ()),
        ({"mixed_precision": {"layers_in_fp32": "a"}}, ()),
        ({"mixed_precision": ["a"]}, ()),
    ],
)
def test_layers_in_fp32(manifest: dict[str, object], layers: tuple[str, ...]) -> None:
    assert layers_in_fp32(manifest) == layers
