"""Progress of a search for people: bars in a terminal or a notebook, plain lines where there is neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["BarListener", "LineListener", "NotebookBars", "bars", "describe", "notebook_listener"]

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


def _line(text: str) -> None:
    print(text, flush=True)


class LineListener:
    """Plain lines: one when a phase starts, one when it ends, and one every half minute between.

    Args:
        write: where a line goes.
        clock_s: seconds of a clock that never goes back.
    """

    def __init__(self, write: Callable[[str], object] = _line, clock_s: Callable[[], float] = time.monotonic) -> None:
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
        self._end()
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
        self._end()

    def _end(self) -> None:
        if self._task is not None:
            task = self._progress.tasks[self._progress.task_ids.index(self._task)]
            # A phase without a known length, or one that ended early, stands still at what it reached.
            self._progress.update(self._task, total=task.completed or 1, completed=task.completed or 1)
            self._progress.stop_task(self._task)
            self._task = None


def bars(console: Console) -> Progress:
    """What a `BarListener` needs: name, bar, steps, time taken and left, figures; not started yet."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
    )


class NotebookBars(BarListener):
    """Bars that begin with the first phase and end with the search: a notebook has no block to keep them in."""

    def phase(self, name: str, total: int | None) -> None:
        """End the phase before, start this one; `total` steps, None where it is not known."""
        self._progress.start()
        super().phase(name, total)

    def done(self) -> None:
        """End the phase and the bars; another phase starts them again."""
        super().done()
        self._progress.refresh()  # rich leaves out the last drawing in a notebook
        self._progress.stop()


def notebook_listener() -> NotebookBars | LineListener | None:
    """Bars in a notebook, or lines where it lacks the package ipywidgets; None: this is no notebook."""
    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    if not console.is_jupyter:
        return None
    return LineListener() if find_spec("ipywidgets") is None else NotebookBars(bars(console))
