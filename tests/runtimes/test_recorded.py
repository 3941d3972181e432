from __future__ import annotations

import pytest
from torch import nn

from hwnas.core.graph_record import GraphRecord
from hwnas.runtimes.recorded import attempted, finished, fused_away, plain_precision


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("float", "fp32"),
        ("F32", "fp32"),
        ("float16", "fp16"),
        ("bf16", "bf16"),
        ("uint8", "int8"),
        ("I8", "int8"),
        ("x", "x"),
    ],
)
def test_types_have_one_name(name: str, plain: str) -> None:
    assert plain_precision(name) == plain


def test_a_record_that_cannot_be_made_says_why() -> None:
    def fail() -> GraphRecord:
        raise ValueError("layerType\nmore")

    record = attempted(fail)
    assert (record.before, record.after) == (None, None)
    assert "ValueError: layerType" in record.notes[0]
    assert "more" not in record.notes[0]


def test_what_became_of_each_operation() -> None:
    before = {"Conv": 3, "Clip": 3, "Identity": 2, "Add": 1}
    groups = [("Conv", "Clip"), ("Conv", "Clip"), ("Conv",)]
    found = fused_away(before, ["Conv", "Conv", "Conv", "Clip", "Add", "Reorder"], groups)
    assert found == {"Conv + Clip": 2, "Identity folded or rewritten": 2}


def test_batch_norm_that_the_export_folds_is_counted() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.BatchNorm2d(2))
    folded = "BatchNorm folded by the export"
    assert finished(GraphRecord(before={"Conv": 1}), model, "fp32", kept=False)["fused"] == {folded: 2}
    there = GraphRecord(before={"Conv": 1, "batch_norm": 2}, fused={})
    assert finished(there, model, "fp32", kept=False)["fused"] == {}
    assert finished(None, model, "int8", kept=False) == GraphRecord().to_json()
