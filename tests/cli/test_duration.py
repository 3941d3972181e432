from __future__ import annotations

import pytest

from hwnas.cli.duration import parse_duration
from hwnas.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200), ("1.5h", 5400), (" 10M ", 600), ("0.5s", 0.5)]
)
def test_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 minutes", "-5m", "0s", "1h30m", "nan", "infs", "1e3s", "٣m", "5d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="write for example 30s, 10m or 2h"):
        parse_duration(text)
