from __future__ import annotations

import builtins
import io
from collections.abc import Iterator

import pytest
from rich.console import Console
from rich.progress import Progress

from hwnas.viz import progress as progress_module
from hwnas.viz.progress import BarListener, LineListener, NotebookBars, bars, describe, notebook_listener


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_figures_are_readable() -> None:
    info = {"front": 12, "hypervolume": 0.43127, "loss": None, "accuracy": 0.9214}
    assert describe(info) == "front 12, hypervolume 0.431, accuracy 92.1 %"
    assert describe({}) == ""


def test_lines_say_what_started_and_what_was_reached() -> None:
    lines: list[str] = []
    clock = Clock()
    listener = LineListener(lines.append, clock)
    listener.phase("search", 300)
    for _ in range(3):
        listener.advance(100, front=7)
        clock.now_s += 4
    listener.note("took a break")
    listener.done()
    listener.done()
    assert lines == ["search (300 steps)", "took a break", "  done 300/300 in 12 s: front 7"]


def test_lines_come_at_most_every_half_minute() -> None:
    lines: list[str] = []
    clock = Clock()
    listener = LineListener(lines.append, clock)
    listener.phase("search", None)
    for _ in range(60):
        clock.now_s += 1
        listener.advance()
    assert lines == ["search", "  ... 30 in 30 s", "  ... 60 in 60 s"]


def test_a_new_phase_ends_the_one_before() -> None:
    lines: list[str] = []
    listener = LineListener(lines.append, Clock())
    listener.phase("train", 2)
    listener.phase("search", 3)
    listener.done()
    assert lines == ["train (2 steps)", "  done 0/2 in 0 s", "search (3 steps)", "  done 0/3 in 0 s"]


@pytest.fixture
def progress() -> Iterator[Progress]:
    with Progress("{task.description}", console=Console(file=io.StringIO(), force_terminal=True)) as made:
        yield made


def test_bars_follow_the_phases(progress: Progress) -> None:
    listener = BarListener(progress)
    listener.phase("train [bold]", 10)
    listener.advance(3, loss=0.5)
    assert (progress.tasks[0].completed, progress.tasks[0].fields["figures"]) == (3, "loss 0.5")
    listener.phase("search", None)
    assert progress.tasks[0].finished
    listener.note("hello")
    listener.done()
    listener.done()
    assert [task.description for task in progress.tasks] == ["train [bold]", "search"]
    assert all(task.finished for task in progress.tasks)


def test_elsewhere_than_in_a_notebook_there_is_none() -> None:
    assert notebook_listener() is None


@pytest.mark.parametrize(("installed", "kind"), [(True, NotebookBars), (False, LineListener)])
def test_in_a_notebook_it_depends_on_ipywidgets(installed: bool, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        """What rich knows a kernel by; a real one runs in tests/docs/test_notebook.py."""

    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setattr(progress_module, "find_spec", lambda name: object() if installed else None)
    assert type(notebook_listener()) is kind


def test_a_notebook_gets_bars_that_start_and_end_with_the_phases() -> None:
    written = io.StringIO()
    listener = NotebookBars(bars(Console(file=written, force_terminal=True, width=120)))
    listener.note("calibrated already")
    assert "calibrated already" in written.getvalue()
    for name in ("sensitivity", "search"):  # `hwnas.compress` ends its listener between the two
        listener.phase(name, 3)
        listener.advance(3, front=2)
        assert listener._progress.live.is_started
        listener.done()
        listener.done()
        assert not listener._progress.live.is_started
    assert "sensitivity" in written.getvalue()
    assert "3/3" in written.getvalue()
    assert "front 2" in written.getvalue()
