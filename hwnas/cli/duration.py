"""Durations as people write them on a command line."""

from __future__ import annotations

import re

from hwnas.errors import ConfigError

__all__ = ["parse_duration"]

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of "30s", "10m", "2h" or "1.5h".

    Raises:
        ConfigError: another form, or no time at all.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip().lower(), flags=re.ASCII)
    if match is None:
        raise ConfigError(f"a time is a number with s, m or h, got {text!r}; write for example 30s, 10m or 2h")
    seconds = float(match[1]) * SECONDS[match[2]]
    if seconds <= 0:
        raise ConfigError(f"a time must be more than 0, got {text!r}; write for example 30s, 10m or 2h")
    return seconds
