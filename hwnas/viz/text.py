"""How numbers are written for people; the same everywhere that a front is shown."""

from __future__ import annotations

from hwnas.core.front import LatencyEntry

__all__ = ["count", "latency_words", "ms", "percent", "size"]


def percent(fraction: float | None, digits: int = 2) -> str:
    """0.9731 -> "97.31 %"; None -> "not known"."""
    return "not known" if fraction is None else f"{fraction * 100:.{digits}f} %"


def ms(value: float) -> str:
    """Milliseconds with three significant digits or more, no exponent: "0.0412", "3.21", "1520"."""
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:.0f}"


def count(value: float) -> str:
    """1234567 -> "1.23 M"; below 1000 as it is."""
    for step, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= step:
            return f"{value / step:.3g} {unit}" if value / step < 999.5 else f"{value / step:.0f} {unit}"
    return f"{value:g}"


def size(value: int | None) -> str:
    """Bytes in MB or kB (powers of 1000); None -> "no file"."""
    return "no file" if value is None else f"{count(value)}B" if value >= 1000 else f"{value} B"


def latency_words(entry: LatencyEntry) -> str:
    """One latency in words, such as "3.21 ms measured (3.10 predicted, 2.90 to 3.40)"."""
    domain = "" if entry.in_domain else ", out of domain"
    interval = f"{ms(entry.low)} to {ms(entry.high)}{domain}"
    if entry.measured is None:
        return f"{ms(entry.predicted)} ms predicted ({interval})"
    return f"{ms(entry.measured.value)} ms measured ({ms(entry.predicted)} predicted, {interval})"
