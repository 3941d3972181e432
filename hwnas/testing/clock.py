"""A clock that moves only when told, so that timing code is tested without waiting."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["VirtualClock", "VirtualModel"]


class VirtualClock:
    """Time in ms, starting at 0."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def advance(self, duration_ms: float) -> None:
        """Let `duration_ms` (>= 0) pass."""
        self.now_ms += duration_ms


class VirtualModel:
    """A model whose calls take virtual time.

    Args:
        clock: the clock that its calls move.
        duration_ms: how long a call takes: (number of the call from 0, time in ms at its start) -> ms.
    """

    def __init__(self, clock: VirtualClock, duration_ms: Callable[[int, float], float]) -> None:
        self.clock, self.n_calls = clock, 0
        self._duration_ms = duration_ms

    def run(self, calls: int) -> list[float]:
        """Make `calls` calls and return their durations in ms."""
        samples_ms = []
        for _ in range(calls):
            samples_ms.append(self._duration_ms(self.n_calls, self.clock.now_ms))
            self.clock.advance(samples_ms[-1])
            self.n_calls += 1
        return samples_ms
