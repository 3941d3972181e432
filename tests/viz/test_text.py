from __future__ import annotations

import pytest

from hwnas.testing.front import example_front
from hwnas.viz.text import count, latency_words, ms, percent, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0412, "0.0412"), (0.5, "0.500"), (3.2145, "3.21"), (100.0, "100"), (999.6, "1000"), (1520.2, "1520")],
)
def test_milliseconds(value: float, text: str) -> None:
    assert ms(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (999_999, "1000 k"), (1_234_567, "1.23 M"), (3.2e9, "3.2 G")],
)
def test_counts(value: float, text: str) -> None:
    assert count(value) == text


def test_what_is_not_known_is_said() -> None:
    assert percent(None) == "not known"
    assert size(None) == "no file"
    assert (percent(0.97312), size(12), size(1_230_000)) == ("97.31 %", "12 B", "1.23 MB")


def test_latency_in_words_names_its_source() -> None:
    model = example_front().models[-1]
    assert "measured" in latency_words(model.latency["cpu"])
    words = latency_words(model.latency["jetson-nano"])
    assert "measured" not in words
    assert "predicted" in words
    assert "out of domain" in words
