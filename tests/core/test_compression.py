from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.compression import PRECISIONS, CompressionPlan, kept_channels
from hwnas.errors import InvalidArchitectureError


@pytest.mark.parametrize("precision", PRECISIONS)
def test_round_trip(precision: str) -> None:
    plan = CompressionPlan.of(precision, {"b": 0.5, "a": 0.25, "c": 0})
    assert plan.prune == (("a", 0.25), ("b", 0.5))
    assert CompressionPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("precision", "prune", "message"),
    [
        ("int4", (), "unknown precision 'int4'"),
        ("fp32", (("b", 0.5), ("a", 0.5)), "sorted and unique"),
        ("fp32", (("a", 0.5), ("a", 0.5)), "sorted and unique"),
        ("fp32", (("a", 1.0),), "above 0 and below 1, got 1.0; 1 would leave nothing"),
        ("fp32", (("a", 0.0),), "above 0 and below 1"),
        ("fp32", (("a", -0.1),), "above 0 and below 1"),
        ("fp32", (("a", float("nan")),), "above 0 and below 1, got nan"),
        ("fp32", (("a", float("inf")),), "above 0 and below 1"),
        ("fp32", (("a", "0.5"),), "must be a number above 0 and below 1, got '0.5'"),
        ("fp32", (("a", None),), "got None"),
        ("fp32", (("a", True),), "got True"),
    ],
)
def test_bad_plans(precision: str, prune: Any, message: str) -> None:
    with pytest.raises(InvalidArchitectureError, match=message):
        CompressionPlan(precision, prune)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a compression plan is"),
        ("3", "a compression plan is"),
        ('{"prune": [0.5]}', "a compression plan is"),
        ('{"prune": {"a": 0.5}, "ratio": 0.5}', "a compression plan is"),
        ('{"prune": {"a": [0.5]}}', "got [0.5]"),
        ('{"prune": {"a": NaN}}', "got nan"),
        ('{"prune": {"a": 1.0}}', "got 1.0"),
        ('{"prune": {"a": -0.25}}', "got -0.25"),
        ('{"prune": {"a": "half"}}', "got 'half'"),
        ('{"prune": {"a": null}}', "got None"),
        ('{"precision": null}', "unknown precision None"),
        ('{"precision": ["int8"]}', "unknown precision ['int8']"),
    ],
)
def test_bad_plans_from_json(text: str, message: str) -> None:
    with pytest.raises(InvalidArchitectureError) as caught:
        CompressionPlan.from_json(json.loads(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("channels", "ratio", "multiple", "expected"),
    [
        (64, 0, 8, 64),
        (64, 0.5, 8, 32),
        (64, 0.3, 8, 48),
        (64, 0.99, 8, 8),
        (8, 0.5, 8, 8),
        (6, 0.5, 8, 6),
        (20, 0.1, 8, 16),
    ],
)
def test_kept_channels(channels: int, ratio: float, multiple: int, expected: int) -> None:
    assert kept_channels(channels, ratio, multiple) == expected


@given(st.integers(1, 2000), st.floats(0, 0.999), st.sampled_from([1, 4, 8, 16, 32]))
def test_kept_channels_keeps_some_and_at_most_all(channels: int, ratio: float, multiple: int) -> None:
    kept = kept_channels(channels, ratio, multiple)
    assert 1 <= kept <= channels
    assert kept == channels or kept % multiple == 0


@given(st.integers(1, 500), st.floats(0, 0.999), st.floats(0, 0.999))
def test_more_ratio_keeps_no_more(channels: int, a: float, b: float) -> None:
    assert kept_channels(channels, max(a, b), 8) <= kept_channels(channels, min(a, b), 8)
