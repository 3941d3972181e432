from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from run_files import finished_trials, trial_rows
from torch import nn
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.core.candidate import Candidate
from hwnas.core.pareto import hypervolume_2d
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import Task
from hwnas.errors import BuildError, ConfigError, InfeasibleBudgetError, RunFolderError, TrainingError
from hwnas.search.config import SearchConfig
from hwnas.search.effort import Clock
from hwnas.search.ladder import CLOSER
from hwnas.search.result import SearchResult
from hwnas.search.run import run_search
from hwnas.search.runfolder import RunFolder
from hwnas.store import read_front, sha256_of
from hwnas.trace import operations

MakeSpace = Callable[..., SearchSpace]


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(devices=("jetson-nano",), n_trials=5, n_front=2, precisions=("fp32",), out=tmp_path / "run")


@pytest.fixture
def few(few_digits: Task) -> Task:
    return replace(few_digits, augmentation="none")


def deployed_accuracy(path: Path, task: Task) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    logits = session.run(None, {session.get_inputs()[0].name: task.preprocessing(task.test.inputs)})[0]
    return float((logits.argmax(1) == task.test.labels).mean())


def test_a_search_from_end_to_end(
    config: SearchConfig, few: Task, make_space: MakeSpace, recorder: Any, tmp_path: Path
) -> None:
    space = make_space((4, 12, 32), (1, 3))
    result = run_search(config, recorder, space=space, task=few)
    assert isinstance(result, SearchResult)
    assert result.run_dir == tmp_path / "run"
    assert recorder.phases == ["search", CLOSER, "finish"]
    assert recorder.steps["search"] == 5
    assert recorder.n_done >= 1
    assert any("out of the domain" in note for note in recorder.notes)
    front = read_front(result.run_dir)
    assert front == result.details
    assert (front.task, front.space, front.devices, front.seed) == ("digits", "plain", ("jetson-nano",), 0)
    assert 1 <= len(front.models) <= 3
    costs = front.costs("jetson-nano")
    assert [*costs[:, 0]] == sorted(costs[:, 0])
    reference = np.array(front.reference_point["jetson-nano"])
    inside = costs[(costs <= reference).all(axis=1)]
    assert front.hypervolume["jetson-nano"] == pytest.approx(hypervolume_2d(inside, reference))
    rows = {row["id"]: row for row in trial_rows(result.run_dir)}
    assert len(rows) == 5
    for model in front.models:
        check_model(model, result.run_dir, space, few)
        assert model.latency_ms == rows[model.id]["latency_ms"]
    assert "<html" in (result.run_dir / "report.html").read_text()[:500].lower()
    told = json.loads((result.run_dir / "progress.json").read_text())
    assert (told["task"], told["space"], told["evaluated"], told["phase"]) == ("digits", "plain", 5, None)
    assert told["reference_point"] == {"jetson-nano": list(front.reference_point["jetson-nano"])}


def check_model(model: Any, run_dir: Path, space: SearchSpace, task: Task) -> None:
    """Everything that the front says of a model is so."""
    artifact = model.artifacts["onnx"]
    path = run_dir / artifact.path
    assert sha256_of(path) == artifact.sha256
    assert path.stat().st_size == model.size_bytes
    assert (model.accuracy_detail.split, model.accuracy_detail.n) == ("test", 100)
    assert model.accuracy_detail.source == "deployed-file"
    assert deployed_accuracy(path, task) == pytest.approx(model.accuracy, abs=1e-12)
    ops = operations(space, Candidate(model.architecture), task)
    assert (model.macs, model.params) == (ops.macs, ops.params)
    entry = model.latency["jetson-nano"]
    assert (entry.source, entry.in_domain) == ("predicted", False)
    assert entry.low < entry.predicted < entry.high
    assert model.energy_mj == {"jetson-nano": None}


def test_a_search_for_two_devices(config: SearchConfig, few: Task, make_space: MakeSpace, recorder: Any) -> None:
    both = replace(config, devices=("jetson", "jetson-tx2"), precisions=None, n_trials=4)
    space = make_space((4, 12, 32), (1, 3))
    result = run_search(both, recorder, space=space, task=few)
    front, names = read_front(result.run_dir), ("jetson-nano", "jetson-tx2")
    assert front == result.details
    assert front.devices == tuple(front.hypervolume) == tuple(front.reference_point) == names
    rows = {row["id"]: row for row in trial_rows(result.run_dir)}
    assert len(rows) == 4  # one evaluation each
    for model in front.models:
        assert {name: entry.predicted for name, entry in model.latency.items()} == rows[model.id]["latency_ms"]
        assert model.energy_mj == dict.fromkeys(names)
    assert rows[front.models[0].id]["in_domain"] == dict.fromkeys(names, False)
    for name in names:
        assert (result.run_dir / "predictors" / name / "fp32" / "card.json").exists()
        assert any(f"predictor on {name}; doubt its figures" in note for note in recorder.notes)
    # A resumed search finds the same devices again, and is told if they are others.
    again = run_search(replace(both, resume=True), recorder, space=space, task=few)
    assert again.details == front
    with pytest.raises(ConfigError, match="began with devices"):
        run_search(replace(both, devices=("jetson",), resume=True), space=space, task=few)
    more = run_search(replace(both, n_trials=6, resume=True), space=space, task=few)
    assert len(trial_rows(more.run_dir)) == 6
    shown = CliRunner().invoke(app, ["front", str(result.run_dir)])
    assert shown.exit_code == 0
    assert "digits on jetson-tx2" in shown.output
    assert "on both fronts, of jetson-nano and jetson-tx2: " in shown.output


def test_finishing_ends_with_the_time_once_there_are_a_few_models(
    config: SearchConfig, few: Task, make_space: MakeSpace, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Clock, "left_s", property(lambda self: None if self.end_s is None else 0.0))
    monkeypatch.setattr(Clock, "share", lambda self, share: None)
    monkeypatch.setattr("hwnas.search.finishing.LEAST_FINISHED", 1)
    space = make_space((4, 12, 32), (1, 2, 3))
    result = run_search(replace(config, n_trials=9, n_front=8, time_s=600.0), recorder, space=space, task=few)
    assert "the time is up: 1 of 8 models are finished" in recorder.notes
    assert len(list((result.run_dir / "models").iterdir())) == 1


def test_resuming_a_finished_run(config: SearchConfig, few: Task, make_space: MakeSpace, recorder: Any) -> None:
    space = make_space((4, 12), (1, 3))
    first = run_search(replace(config, n_trials=2), space=space, task=few)
    with pytest.raises(RunFolderError, match="exists already"):
        run_search(replace(config, n_trials=2), space=space, task=few)
    before = {path: path.stat().st_mtime_ns for path in first.run_dir.rglob("*") if path.suffix in (".onnx", ".json")}
    again = run_search(
        SearchConfig(devices=config.devices, out=config.out, resume=True), recorder, space=space, task=few
    )
    assert any("nothing is left to do" in note for note in recorder.notes)
    assert again.details == first.details
    unchanged = [path for path, when in before.items() if path.stat().st_mtime_ns == when]
    assert all(path in unchanged for path in before if path.name != "config.json")
    # More trials go on from there.
    more = run_search(replace(config, n_trials=4, resume=True), space=space, task=few)
    rows = trial_rows(more.run_dir)
    assert len(rows) == len({row["id"] for row in rows}) == 4


def test_a_report_that_a_kill_prevented_is_written_when_resuming(
    config: SearchConfig, few: Task, make_space: MakeSpace
) -> None:
    space = make_space((4,), (1, 3))
    result = run_search(replace(config, n_trials=1), space=space, task=few)
    report = result.run_dir / "report.html"
    report.unlink()
    run_search(replace(config, n_trials=1, resume=True), space=space, task=few)
    assert report.exists()


def test_a_second_search_on_a_run_folder_is_refused(config: SearchConfig, few: Task, make_space: MakeSpace) -> None:
    folder = RunFolder.open(config, label="nano")
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    with folder.locked():
        for resume, said in ((True, "another search is writing to"), (False, "exists already")):
            with pytest.raises(RunFolderError, match=said) as caught:
                run_search(replace(config, resume=resume), space=make_space((4,)), task=few)
            assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_space_with_fewer_candidates_than_trials(
    config: SearchConfig, few: Task, make_space: MakeSpace, recorder: Any
) -> None:
    space = make_space((4,), (1, 3))
    result = run_search(config, recorder, space=space, task=few)
    assert len(trial_rows(result.run_dir)) == 2
    assert any("all candidates within the budgets were evaluated (2)" in note for note in recorder.notes)
    again = run_search(replace(config, resume=True), space=space, task=few)
    assert again.details == result.details


def test_a_search_in_which_every_training_fails_names_the_first_cause(
    config: SearchConfig, few: Task, make_space: MakeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: object, candidate: Candidate) -> None:
        raise TrainingError(f"candidate {candidate.id}: the loss is nan")

    monkeypatch.setattr("hwnas.accuracy.trained.TrainedEvaluator.evaluate", fails)
    with pytest.raises(TrainingError, match=r"each of the first 5 evaluations failed, .*: the loss is nan") as caught:
        run_search(config, space=make_space((4, 12, 32), (1, 3)), task=few)
    assert "\n" not in str(caught.value)


def test_a_clock_that_jumps_does_not_matter(
    config: SearchConfig, few: Task, make_space: MakeSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.cycle((0.0, 4e9, 1e3))
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    start = time.monotonic()
    result = run_search(replace(config, time_s=600.0), space=make_space((4, 12), (1, 3)), task=few)
    assert len(trial_rows(result.run_dir)) == 4  # all that there are
    assert time.monotonic() - start < 600


def test_a_resumed_run_must_be_the_same_search(config: SearchConfig, few: Task, make_space: MakeSpace) -> None:
    run_search(replace(config, n_trials=1, n_front=1), space=make_space((4,), (1, 3)), task=few)
    again = replace(config, n_trials=2, resume=True)
    with pytest.raises(ConfigError, match="began with another choices"):
        run_search(again, space=make_space((4, 8), (1, 3)), task=few)
    with pytest.raises(ConfigError, match="began with another data"):
        run_search(again, space=make_space((4,), (1, 3)), task=replace(few, fingerprint="other"))
    with pytest.raises(ConfigError, match="began with seed 0, got 4"):
        run_search(replace(again, seed=4), space=make_space((4,), (1, 3)), task=few)


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("max_latency_ms", "fastest seen"),
        ("max_size_mb", "smallest seen"),
        ("max_memory_mb", r"least seen .* \(modelled\)"),
    ],
)
def test_a_budget_that_nothing_meets_makes_no_folder(
    config: SearchConfig, few: Task, make_space: MakeSpace, limit: str, said: str
) -> None:
    with pytest.raises(InfeasibleBudgetError, match=said):
        run_search(replace(config, **{limit: 1e-6}), space=make_space((4, 8)), task=few)
    assert config.out is not None
    assert not config.out.exists()


def test_a_budget_of_energy_needs_somebody_who_read_it(config: SearchConfig, few: Task, make_space: MakeSpace) -> None:
    with pytest.raises(ConfigError, match=r"max_energy_mj: nothing predicts the .* energy of .*--energy-column"):
        run_search(replace(config, max_energy_mj=5.0), space=make_space((4, 8)), task=few)
    assert config.out is not None and not config.out.exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda a, t: 1 / 0, "ZeroDivisionError"),
        (lambda a, t: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), r"must have shape \(n, 10\), got \(n, 3\)"),
        (lambda a, t: nn.Linear(3, 10), "does not run"),
        (lambda a, t: "network", "must return nn.Module"),
    ],
)
def test_a_space_that_builds_nonsense(config: SearchConfig, few: Task, wrong: Any, said: str) -> None:
    space = SearchSpace("bad", [Choice("width", (4, 8))], wrong)
    with pytest.raises(BuildError, match=said) as caught:
        run_search(config, space=space, task=few)
    assert "'bad', architecture {'width': " in str(caught.value)


SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from typer.testing import CliRunner

torch.set_num_threads(1)
import hwnas
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import Split
from hwnas.tasks.digits import load


def build(architecture, task):
    width = architecture["width"]
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, task.n_outputs))


whole = load()
few = {name: Split(split.inputs[:200], split.labels[:200]) for name in ("train", "validation", "test")
       for split in [getattr(whole, name)]}
space = SearchSpace("mlp", [Choice("width", tuple(range(4, 40)))], build)
hwnas.search(device="jetson-nano", precision="fp32", space=space, task=replace(whole, fingerprint="few", **few),
             trials=14, n_front=2, out=Path(sys.argv[1]), resume="--resume" in sys.argv)
"""


def test_a_killed_search_loses_and_repeats_nothing(tmp_path: Path) -> None:
    script = tmp_path / "search.py"
    script.write_text(SCRIPT)
    journal = tmp_path / "killed" / "study.journal"
    process = subprocess.Popen([sys.executable, str(script), str(journal.parent)], cwd=tmp_path)
    try:
        for _ in range(12_000):
            if process.poll() is not None or len(finished_trials(journal)) >= 3:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    before = finished_trials(journal)
    assert len(before) >= 3
    for name, more in (("killed", ["--resume"]), ("unbroken", [])):
        command = [sys.executable, str(script), str(tmp_path / name), *more]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=900)
    killed, unbroken = (trial_rows(tmp_path / name) for name in ("killed", "unbroken"))
    ids = [row["id"] for row in killed]
    assert ids[: len(before)] == before
    assert len(ids) == len(set(ids)) == 14
    assert killed == unbroken
    fronts = [read_front(tmp_path / name) for name in ("killed", "unbroken")]
    assert [(m.id, m.accuracy, m.latency_ms) for m in fronts[0].models] == [
        (m.id, m.accuracy, m.latency_ms) for m in fronts[1].models
    ]
