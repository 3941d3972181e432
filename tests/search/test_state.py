from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.errors import RunFolderError, SchemaError
from hwnas.search.config import SearchConfig
from hwnas.search.run import run_search
from hwnas.search.state import RunReader, page_of
from hwnas.store import write_json
from hwnas.testing.front import example_front


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, few_digits: Task) -> Path:
    from torch import nn

    from hwnas.core.space import Choice

    def build(architecture: Any, task: Any) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, architecture["width"]), nn.Linear(architecture["width"], 10))

    space = SearchSpace("flat", [Choice("width", (4, 8, 12, 16, 20))], build)
    run = tmp_path_factory.mktemp("runs") / "run"
    config = SearchConfig(devices=("jetson-nano",), n_trials=4, n_front=1, precisions=("fp32",), out=run)
    run_search(config, space=space, task=few_digits)
    return run


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Callable[..., Path]:
    def make(*without: str) -> Path:
        run = tmp_path / "run"
        shutil.copytree(whole, run)
        for name in without:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return run

    return make


def test_a_finished_run_shows_no_progress(whole: Path) -> None:
    state = RunReader(whole).look()
    assert state.progress is None
    assert len(state.trials) == 4
    assert page_of(state)["version"] == state.version == RunReader(whole).look().version


@pytest.mark.parametrize(
    "without",
    [
        ("front.json",),
        ("front.json", "trials.jsonl", "rounds.json", "report.html"),
        ("front.json", "trials.jsonl", "rounds.json", "models", "progress.json"),
    ],
)
def test_half_a_run_shows_what_there_is(copy: Callable[..., Path], without: tuple[str, ...]) -> None:
    state = RunReader(copy(*without)).look()
    assert state.progress is not None
    assert state.progress["evaluated"] == len(state.trials) == 4
    assert state.front.devices == ("jetson-nano",)
    page = page_of(state)
    assert page["devices"][0]["course"]["evaluations"]
    json.dumps(page, allow_nan=False)


def test_a_run_that_has_only_begun(copy: Callable[..., Path]) -> None:
    run = copy("front.json", "trials.jsonl", "rounds.json", "study.journal", "progress.json", "models")
    state = RunReader(run).look()
    assert (state.trials, state.front.models) == ([], ())
    assert state.progress is not None
    assert not state.progress["running"]
    assert page_of(state)["models"] == []


def test_a_journal_that_is_damaged_leaves_the_list_of_trials(copy: Callable[..., Path]) -> None:
    run = copy("front.json")
    (run / "study.journal").write_bytes(b"no journal\n{]\n")
    assert len(RunReader(run).look().trials) == 4


@pytest.mark.parametrize("text", ["{]", "[]", '{"schema": 99}', "{}"])
def test_progress_that_cannot_be_read_is_as_none(copy: Callable[..., Path], text: str) -> None:
    run = copy("front.json")
    (run / "progress.json").write_text(text)
    state = RunReader(run).look()
    assert state.progress is not None
    assert state.progress["phase"] is None


def test_a_reader_sees_what_is_new(copy: Callable[..., Path]) -> None:
    run = copy("front.json")
    reader = RunReader(run)
    before = reader.look()
    assert reader.look().version == before.version
    write_json(run / "front.json", {**example_front(("jetson-nano",)).to_json()})
    assert reader.look().version != before.version


@pytest.mark.parametrize(
    ("who", "running"),
    [
        ({"host": socket.gethostname(), "pid": os.getpid()}, True),
        ({"host": socket.gethostname(), "pid": 2**22 + 1}, False),
        ({"host": "another", "pid": 1, "updated": timedelta()}, True),
        ({"host": "another", "pid": 1, "updated": timedelta(hours=1)}, False),
        ({"host": "another", "pid": 1, "updated": "yesterday"}, False),
        ({"host": socket.gethostname(), "pid": "x"}, False),
        ({}, False),
    ],
)
def test_whether_a_search_runs(copy: Callable[..., Path], who: dict[str, Any], running: bool) -> None:
    run = copy("front.json")
    if isinstance(ago := who.get("updated"), timedelta):  # not of when the tests were collected
        who = {**who, "updated": (datetime.now(UTC) - ago).isoformat()}
    write_json(run / "progress.json", {"schema": 1, **who})
    state = RunReader(run).look()
    assert state.progress is not None
    assert state.progress["running"] is running


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        RunReader(tmp_path / "none").look()
    with pytest.raises(RunFolderError, match=r"no front\.json"):
        RunReader(tmp_path).look()
    (tmp_path / "config.json").write_text('{"schema": 9}')
    with pytest.raises(SchemaError):
        RunReader(tmp_path).look()


def test_a_front_alone_is_enough(tmp_path: Path) -> None:
    write_json(tmp_path / "front.json", example_front().to_json())
    state = RunReader(tmp_path).look()
    assert (len(state.front.models), state.progress) == (8, None)
