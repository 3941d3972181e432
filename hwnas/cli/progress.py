"""Progress of a search on the terminal: a bar per phase, or plain lines where stdout is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["BarListener", "LineListener", "describe", "progress_listener", "step_progress"]

QUIET_S = 30.0


def describe(info: Mapping[str, Any]) -> str:
    """The figures that come with progress, in the order given: "front 12, hypervolume 0.431, accuracy 92.1 %"."""
    words = []
    for key, value in info.items():
        if value is None:
            continue
        if key == "accuracy" and isinstance(value, float):
            words.append(f"{key} {value * 100:.1f} %")
        elif isinstance(value, float):
            words.append(f"{key} {value:.3g}")
        else:
            words.append(f"{key} {value}")
    return ", ".join(words)


class LineListener:
    """Plain lines: one when a phase starts, one when it ends, and one every half minute between.

    Args:
        write: where a line goes.
        clock_s: seconds of a clock that never goes back.
    """

    def __init__(
        self, write: Callable[[str], object] = typer.echo, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock_s = clock_s
        self._name: str | None = None
        self._total: int | None = None
        self._done = 0
        self._info: dict[str, Any] = {}
        self._start_s = self._last_s = 0.0

    def phase(self, name: str, total: int | None) -> None:
        """End the phase before, start this one; `total` steps, None where it is not known."""
        self.done()
        self._name, self._total, self._done, self._info = name, total, 0, {}
        self._start_s = self._last_s = self._clock_s()
        self._write(name if total is None else f"{name} ({total} steps)")

    def advance(self, n: int = 1, **info: Any) -> None:
        """`n` steps are done; `info` are figures worth showing."""
        self._done += n
        self._info.update(info)
        now_s = self._clock_s()
        if self._name is not None and now_s - self._last_s >= QUIET_S:
            self._last_s = now_s
            self._write(self._line("..."))

    def note(self, text: str) -> None:
        """Say something once."""
        self._write(text)

    def done(self) -> None:
        """End the phase; a second call does nothing."""
        if self._name is not None:
            self._write(self._line("done"))
            self._name = None

    def _line(self, state: str) -> str:
        steps = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        figures = f": {describe(self._info)}" if self._info else ""
        return f"  {state} {steps} in {self._clock_s() - self._start_s:.0f} s{figures}"


class BarListener:
    """A bar per phase with the time left and the latest figures; finished phases stay visible.

    Args:
        progress: a started `rich.progress.Progress` whose last column shows the field "figures".
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._info: dict[str, Any] = {}

    def phase(self, name: str, total: int | None) -> None:
        """End the phase before, start this one; `total` steps, None where it is not known."""
        self.done()
        self._info = {}
        self._task = self._progress.add_task(name, total=total, figures="")

    def advance(self, n: int = 1, **info: Any) -> None:
        """`n` steps are done; `info` are figures worth showing."""
        self._info.update(info)
        if self._task is not None:
            self._progress.update(self._task, advance=n, figures=describe(self._info))

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text)

    def done(self) -> None:
        """End the phase; a second call does nothing."""
        if self._task is not None:
            task = self._progress.tasks[self._progress.task_ids.index(self._task)]
            # A phase without a known length, or one that ended early, stands still at what it reached.
            self._progress.update(self._task, total=task.completed or 1, completed=task.completed or 1)
            self._progress.stop_task(self._task)
            self._task = None


@contextmanager
def progress_listener() -> Iterator[BarListener | LineListener]:
    """A listener that fits stdout; the terminal is left clean whatever happens inside."""
    if not sys.stdout.isatty():
        listener = LineListener()
        yield listener
        listener.done()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from hwnas.cli.output import console

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console()) as progress:
        bars = BarListener(progress)
        yield bars
        bars.done()


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
