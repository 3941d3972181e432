"""Progress of a command: a bar per phase, or plain lines where stdout is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hwnas.viz.progress import BarListener, LineListener, bars

__all__ = ["progress_listener", "step_progress"]


@contextmanager
def progress_listener() -> Iterator[BarListener | LineListener]:
    """A listener that fits stdout; the terminal is left clean whatever happens inside."""
    if not sys.stdout.isatty():
        listener = LineListener()
        yield listener
        listener.done()
        return
    from hwnas.cli.output import console

    with bars(console()) as progress:
        drawn = BarListener(progress)
        yield drawn
        drawn.done()


@contextmanager
def step_progress(name: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """An `on_progress(done, total)` callback that draws one phase; draws nothing if `quiet`."""
    if quiet:
        yield lambda done, total: None
        return
    with progress_listener() as listener:
        reached: int | None = None

        def on_progress(done: int, total: int) -> None:
            nonlocal reached
            if reached is None:
                listener.phase(name, total)
                reached = 0
            listener.advance(done - reached)
            reached = done

        yield on_progress
