from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from database import Database
from run_files import trial_rows

from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.errors import ConfigError, RunFolderError
from hwnas.search.config import SearchConfig
from hwnas.search.run import run_search
from hwnas.search.worker import run_worker
from hwnas.store import read_front

MakeSpace = Callable[..., SearchSpace]

# The search of a process, or a worker's part in it.
SCRIPT = """
import sys, time
from pathlib import Path

import torch
from torch import nn

torch.set_num_threads(1)
import hwnas
from hwnas.accuracy.trained import TrainedEvaluator

whole = TrainedEvaluator.evaluate


def slow(self, candidate):  # the search waits for the worker's first evaluation
    joined = Path("joined")
    if sys.argv[1] == "worker":
        joined.touch()
    for _ in range(6000):
        if joined.exists():
            break
        time.sleep(0.05)
    time.sleep(0.2)
    return whole(self, candidate)


TrainedEvaluator.evaluate = slow


def build(architecture, task):
    width = architecture["width"]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, task.n_outputs))


space = hwnas.SearchSpace("mlp", [hwnas.Choice("width", tuple(range(4, 40)))], build)
what, run, storage = sys.argv[1:4]
if what == "search":
    hwnas.search(device="jetson-nano", precision="fp32", space=space, trials=16, n_front=2, out=run, storage=storage)
else:
    print(hwnas.worker(run, space=space))
"""


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(devices=("jetson-nano",), n_trials=4, n_front=2, precisions=("fp32",), out=tmp_path / "run")


def test_one_process_finds_the_same_with_and_without_a_database(
    config: SearchConfig, few_digits: Task, make_space: MakeSpace, database: Database, tmp_path: Path, recorder: Any
) -> None:
    few = replace(few_digits, augmentation="none")
    for name, storage in (("journal", None), ("database", database.url)):
        run_search(replace(config, out=tmp_path / name, storage=storage), space=make_space(), task=few)
    journal, shared = tmp_path / "journal", tmp_path / "database"
    assert trial_rows(journal) == trial_rows(shared)
    fronts = [read_front(run) for run in (journal, shared)]
    assert [(m.id, m.accuracy, m.latency_ms) for m in fronts[0].models] == [
        (m.id, m.accuracy, m.latency_ms) for m in fronts[1].models
    ]
    assert not (shared / "study.journal").exists()
    # A worker that comes late has nothing to do; one with other data or another space is refused.
    assert run_worker(shared, recorder, space=make_space(), task=few) == 0
    assert "has ended" in recorder.notes[-1]
    for space, task, other in (
        (make_space((4, 8)), few, "choices"),
        (make_space(), replace(few, fingerprint="other"), "data"),
    ):
        with pytest.raises(ConfigError, match=f"began with another {other}"):
            run_worker(shared, space=space, task=task)
    raw = json.loads((shared / "config.json").read_text())
    raw["versions"]["hwnas"] = "9.9"
    (shared / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match=r"runs with hwnas 9\.9, here is 0\.\S+ install hwnas==9\.9"):
        run_worker(shared, space=make_space(), task=few)


def test_a_search_and_its_workers(database: Database, tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(SCRIPT)
    run = tmp_path / "run"

    def begin(what: str) -> subprocess.Popen[str]:
        command = [sys.executable, "part.py", what, str(run), database.url]
        return subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE)

    processes = [begin("search")]
    try:
        for _ in range(3000):
            if (run / "config.json").exists() or processes[0].poll() is not None:
                break
            time.sleep(0.05)
        processes.append(begin("worker"))
        said = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0, 0]
    ids = [row["id"] for row in trial_rows(run)]
    assert len(ids) == len(set(ids)) == 16
    assert 0 < int(said[1].split()[-1]) < 16
    assert read_front(run).models


def test_what_cannot_be_joined(config: SearchConfig, few_digits: Task, make_space: MakeSpace, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is .* a run folder"):
        run_worker(tmp_path / "none")
    run_search(replace(config, n_trials=1, n_front=1), space=make_space((4,), (1, 3)), task=few_digits)
    with pytest.raises(ConfigError, match="is not shared: its study is in a file"):
        run_worker(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"is not shared: its study is in sqlite"):
        run_worker(tmp_path / "run", storage="sqlite:///x.db")
    with pytest.raises(ConfigError, match=r"cannot be used: .*127\.0\.0\.1"):
        run_worker(tmp_path / "run", storage="postgresql://hwnas@127.0.0.1:1/postgres")
