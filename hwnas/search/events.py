"""What a search tells whoever watches it; the command line draws progress bars from these."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Listener", "Silent", "shown"]


class Listener(Protocol):
    """Port: told about phases (calibrate, train, search, finish, measure) and their steps."""

    def phase(self, name: str, total: int | None) -> None:
        """A new phase of `total` steps begins (None: not known)."""

    def advance(self, n: int = 1, **info: float | int | str) -> None:
        """`n` steps of the phase are done; `info` holds figures such as front, hypervolume, loss, accuracy."""

    def note(self, text: str) -> None:
        """A line that the user should read."""

    def done(self) -> None:
        """The search has ended, well or not."""


class Silent:
    """A listener that says nothing."""

    def phase(self, name: str, total: int | None) -> None:
        """See Listener."""

    def advance(self, n: int = 1, **info: float | int | str) -> None:
        """See Listener."""

    def note(self, text: str) -> None:
        """See Listener."""

    def done(self) -> None:
        """See Listener."""


def shown(listener: Listener | None) -> Listener:
    """The listener that was given; without one, bars in a notebook and silence elsewhere."""
    from hwnas.viz.progress import notebook_listener

    return listener or notebook_listener() or Silent()
