from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.search import live
from hwnas.search.config import SearchConfig
from hwnas.search.live import PROGRESS, Live
from hwnas.search.run import run_search
from hwnas.search.state import RunReader


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
    return found


def test_everything_is_passed_on_and_written(tmp_path: Path, recorder: Any) -> None:
    now_s = [0.0]
    listener = Live(recorder, lambda: now_s[0])
    listener.note("before there is a folder")
    listener.begin(tmp_path, "digits", "plain", 3)
    listener.phase("train", 10)
    listener.advance(2, loss=0.5)
    assert told(tmp_path)["done"] == 0  # a second has not passed
    now_s[0] = 1.5
    listener.advance(1, loss=0.25)
    found = told(tmp_path)
    assert (found["phase"], found["done"], found["total"], found["figures"]) == ("train", 3, 10, {"loss": 0.25})
    assert (found["task"], found["space"], found["seed"], found["pid"]) == ("digits", "plain", 3, os.getpid())
    assert found["notes"] == ["before there is a folder"]
    listener.done()
    assert told(tmp_path)["phase"] is None
    assert (recorder.phases, recorder.steps, recorder.n_done) == (["train"], {"train": 3}, 1)


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, recorder: Any) -> None:
    listener = Live(recorder)
    listener.begin(tmp_path / "gone", "digits", "plain", 0)
    listener.phase("search", 3)
    listener.advance(1)
    listener.note("on it goes")
    assert len([note for note in recorder.notes if "cannot be shown" in note]) == 1
    assert recorder.notes[-1] == "on it goes"


def test_a_running_search_can_be_looked_at(
    tmp_path: Path, few_digits: Task, make_space: Callable[..., SearchSpace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step of a real search another reader of the folder sees a whole run, and reports lie ready."""
    monkeypatch.setattr(live, "STATE_S", 0.0)
    monkeypatch.setattr(live, "REPORT_S", 0.0)
    run, seen = tmp_path / "run", []

    class Looking:
        def phase(self, name: str, total: int | None) -> None: ...

        def advance(self, n: int = 1, **info: float | int | str) -> None:
            state = RunReader(run).look()
            assert state.progress is not None
            seen.append((state.progress["evaluated"], len(state.trials), len(state.front.models)))
            assert state.progress["running"]
            assert state.front.devices == ("jetson-nano",)

        def note(self, text: str) -> None: ...

        def done(self) -> None: ...

    config = SearchConfig(devices=("jetson-nano",), n_trials=4, n_front=1, precisions=("fp32",), out=run)
    reports: list[int] = []
    written = live.Live._write_report

    def count(self: Live, folder: Path) -> None:
        written(self, folder)
        reports.append((folder / "report.html").stat().st_size)

    monkeypatch.setattr(live.Live, "_write_report", count)
    result = run_search(config, Looking(), space=make_space(), task=few_digits)
    assert [evaluated for evaluated, _, _ in seen][:4] == [1, 2, 3, 4]
    assert [rows for _, rows, _ in seen][:4] == [1, 2, 3, 4]
    assert len(reports) >= 4
    assert min(reports) > 1_000_000
    state = RunReader(run).look()
    assert state.progress is None
    assert state.front == result.details
