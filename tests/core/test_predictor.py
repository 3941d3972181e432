from __future__ import annotations

import json
from typing import Any

import pytest

from hwnas.core.predictor import Card
from hwnas.errors import SchemaError

CARD = Card(
    id="d/r-fp32@0", device="d", runtime="r", runtime_version=None, precision="fp32", batch=1, threads=None,
    power_mode=None, statistic="p10", measured=True, source="s", licence="l", n_measurements=3, spaces=("a", "b"),
    input_shapes=((3, 32, 32),), op_ranges={"conv": {"macs": (1.0, 2.0)}}, held_out=0, mape=None, spearman=None,
    kendall=None, within_5=None, within_10=None, interval_coverage=None, date="2026-01-01",
)  # fmt: skip


def test_a_card_survives_json() -> None:
    assert Card.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD


def test_unknown_is_null() -> None:
    raw = CARD.to_json()
    assert [raw[key] for key in ("runtime_version", "threads", "power_mode", "mape")] == [None] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 1}, "schema 1"),
        ({"schema": None}, "schema None"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_another_schema_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Card.from_json({**CARD.to_json(), **change})


def test_a_missing_key_is_named() -> None:
    raw = CARD.to_json()
    del raw["licence"]
    with pytest.raises(SchemaError, match="licence"):
        Card.from_json(raw)
