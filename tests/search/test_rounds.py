from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.compress.twins import read_twins
from hwnas.core.candidate import Candidate
from hwnas.core.device import Device
from hwnas.core.measurement import read_measurements
from hwnas.core.ops import OpList
from hwnas.core.predictor import Card, Prediction
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task, TaskLike, TaskShape
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.residual import ElasticResidual
from hwnas.elastic.space import ElasticSpace
from hwnas.search.config import SearchConfig
from hwnas.search.finish import Finished
from hwnas.search.ladder import CLOSER
from hwnas.search.run import run_search
from hwnas.viz.data import page_data

MakeSpace = Callable[..., SearchSpace]


class Slow:
    """Promises a second, give or take a tenth, for whatever it is asked; the real thing takes microseconds."""

    def __init__(self, card: Card, low_ms: float = 900.0, high_ms: float = 1100.0) -> None:
        self.card, self.range_ms = card, (low_ms, high_ms)

    def predict(self, networks: Sequence[OpList]) -> list[Prediction]:
        low_ms, high_ms = self.range_ms
        values = [math.sqrt(low_ms * high_ms) * (1 + 1e-9 * network.macs) for network in networks]
        return [Prediction(value, low_ms, high_ms, True, None, self.card.id) for value in values]


@pytest.fixture
def search(
    few_digits: Task,
    make_space: MakeSpace,
    recorder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    a_card: Card,
) -> Callable[..., Any]:
    """A search on this machine whose first predictor is wrong."""

    def run(learned: Slow | None, space: SearchSpace | None = None, **settings: Any) -> Any:
        wrong = Slow(a_card)
        monkeypatch.setattr("hwnas.search.targets.find_predictor_set", lambda setup, *_: {"fp32": wrong})

        def learn_from(device: Device, *_: Any, **__: Any) -> tuple[dict[str, Slow], list[str]]:
            return ({"fp32": learned}, [f"{device.name} learned"]) if learned else ({}, [])

        monkeypatch.setattr("hwnas.search.rounds.learn_from", learn_from)
        task = replace(few_digits, augmentation="none")
        config = SearchConfig(devices=("cpu",), precisions=("fp32",), out=tmp_path / "run", n_trials=5, n_front=2)
        space = make_space((4, 8, 16, 32), (1, 3)) if space is None else space
        return run_search(replace(config, **settings), recorder, space=space, task=task)

    return run


def phases(recorder: Any) -> list[str]:
    """Without looking closer, which is another matter."""
    return [phase for phase in recorder.phases if phase != CLOSER]


def test_a_search_goes_on_when_its_predictions_do_not_hold(
    search: Callable[..., Any], recorder: Any, a_card: Card, tmp_path: Path
) -> None:
    result = search(Slow(replace(a_card, id="learned"), 1e-6, 1e6))
    assert "cpu learned" in recorder.notes
    assert "2 of 2 models are not as fast as predicted: the search goes on with what was learned" in recorder.notes
    assert phases(recorder) == ["search", "finish", "measure", "search on", "finish", "measure"]
    # What was promised before is not made better afterwards.
    promised = {model.id: model.latency["cpu"] for model in result.details.models}
    first, later = ([e for e in promised.values() if e.predictor == name] for name in (a_card.id, "learned"))
    assert len(first) + len(later) == len(promised) >= 2
    assert all(entry.high < 1200 for entry in first)
    assert all(entry.measured for entry in promised.values())
    measured = [found.candidate.id for found in read_measurements(tmp_path / "run/measurements.jsonl")]
    assert len(measured) == len(set(measured)) > 2
    assert len((tmp_path / "run/trials.jsonl").read_text().splitlines()) == 6


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kill_in", ["finish", "measure"])
def test_a_search_that_is_killed_in_a_further_round_goes_on_with_it(
    search: Callable[..., Any],
    recorder: Any,
    a_card: Card,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_in: str,
) -> None:
    learned, phase = Slow(replace(a_card, id="learned"), 1e-6, 1e6), recorder.phase

    def kills(name: str, total: int | None) -> None:
        phase(name, total)
        if name == kill_in and "search on" in recorder.phases:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "phase", kills)
        with pytest.raises(Killed):
            search(learned)
    first = json.loads((tmp_path / "run/rounds.json").read_text())["rounds"]
    measured = (tmp_path / "run/measurements.jsonl").read_bytes()
    assert len(first) == 1
    recorder.phases.clear()
    search(learned, resume=True)
    assert phases(recorder) == ["search", "search on", "finish", "measure"]  # what the first round made is read back
    assert (tmp_path / "run/measurements.jsonl").read_bytes().startswith(measured)
    log = json.loads((tmp_path / "run/rounds.json").read_text())
    assert log["over"]
    assert log["rounds"][:1] == first
    assert len(log["rounds"]) == 2
    assert not {*log["rounds"][1]["models"]} & {*first[0]["models"]}
    assert len((tmp_path / "run/trials.jsonl").read_text().splitlines()) == 6
    recorder.phases.clear()
    search(learned, resume=True)
    assert phases(recorder) == []


def test_it_ends_when_nothing_can_be_learned(search: Callable[..., Any], recorder: Any) -> None:
    search(None)
    assert phases(recorder) == ["search", "finish", "measure"]


def test_nothing_is_learned_from_files_that_are_not_what_was_predicted(
    search: Callable[..., Any], recorder: Any, a_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Finished, "share_in_fp32", property(lambda made: 0.1))  # layers that int8 harmed
    result = search(Slow(replace(a_card, id="learned"), 1e-6, 1e6))
    assert phases(recorder) == ["search", "finish", "measure"]
    assert "cpu learned" not in recorder.notes
    entries = [model.latency["cpu"] for model in result.details.models]
    assert all(not entry.in_domain and entry.measured is not None for entry in entries)


def test_it_ends_after_a_few_rounds(search: Callable[..., Any], recorder: Any, a_card: Card) -> None:
    search(Slow(replace(a_card, id="no better")), n_trials=3, n_front=1)
    assert recorder.phases.count("search on") == 2


def test_it_says_so_when_no_time_is_left(
    search: Callable[..., Any], recorder: Any, a_card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwnas.search.rounds._LEAST_LEFT_S", math.inf)
    search(Slow(replace(a_card, id="learned"), 1e-6, 1e6), time_s=600.0)
    assert "2 of 2 models are not as fast as predicted: no time is left; the next search knows" in recorder.notes
    assert "search on" not in recorder.phases


def test_each_device_learns_from_its_own_measurements(
    search: Callable[..., Any], recorder: Any, a_card: Card, tmp_path: Path
) -> None:
    result = search(Slow(replace(a_card, id="learned"), 1e-6, 1e6), devices=("cpu", "jetson-tx2"))
    assert [note for note in recorder.notes if "learned" in note] == [
        "cpu learned",
        "2 of 2 models are not as fast as predicted on cpu: the search goes on with what was learned",
        "cpu learned",
    ]
    assert "measure on cpu" in recorder.phases
    assert "measure on jetson-tx2" not in recorder.phases
    for model in result.details.models:
        assert model.latency["cpu"].measured is not None
        assert model.latency["jetson-tx2"].source == "predicted"
        assert model.latency["jetson-tx2"].predictor == a_card.id
    assert {found.device for found in read_measurements(tmp_path / "run/measurements.jsonl")} == {"cpu"}


def test_each_runtime_has_a_file_that_its_device_measures(
    search: Callable[..., Any], recorder: Any, tmp_path: Path
) -> None:
    result = search(None, devices=("cpu", "cpu-torch"))
    assert [phase for phase in recorder.phases if phase.startswith("measure")] == [
        "measure on cpu",
        "measure on cpu-torch",
    ]
    for model in result.details.models:
        assert {name: Path(file.path).name for name, file in model.artifacts.items()} == {
            "onnx": "model.onnx",
            "pt2": "model.pt2",
        }
        for device, runtime in (("cpu", "onnxruntime"), ("cpu-torch", "torch")):
            measured = model.latency[device].measured
            assert measured is not None
            assert measured.runtime == runtime
    found = read_measurements(tmp_path / "run/measurements.jsonl")
    assert {(one.device, one.runtime) for one in found} == {("cpu", "onnxruntime"), ("cpu-torch", "torch")}
    words = ["export", str(result.run_dir), "--model", result.front[0].id, "--format", "onnx,pt2"]
    assert CliRunner().invoke(app, [*words, "--to", str(tmp_path / "to")]).exit_code == 0
    assert (tmp_path / "to/onnx/model.onnx").exists()
    assert (tmp_path / "to/pt2/model.pt2").exists()
    checked = CliRunner().invoke(app, ["verify", str(result.run_dir), "--device", "cpu-torch", "--json"])
    assert all("could not be measured" not in one["reason"] for one in json.loads(checked.stdout))


def residual_blocks(task: TaskLike) -> list[ElasticBlock]:
    stage = [ElasticResidual("s", index, (16, 32)[index], (16, 32), (1, 2), stride=2 - index) for index in range(2)]
    return [ElasticConvBlock("stem", task.input_shape[0], (8, 16)), *stage, ElasticClassifier(32, task.n_outputs)]


def test_what_a_supernet_models_would_be_uncompressed_is_read(
    search: Callable[..., Any], recorder: Any, tmp_path: Path
) -> None:
    space = ElasticSpace("residual", residual_blocks, default=TaskShape((1, 8, 8), 10))
    result = search(None, space, n_trials=12, n_front=4, seed=1)
    assert "sensitivity" in recorder.phases
    cut = [model for model in result.details.models if model.compression.prune]
    assert cut
    twins = read_twins(tmp_path / "run")
    assert set(twins) == {Candidate(model.architecture).id for model in cut}
    assert all(0 <= value <= 1 for value in twins.values())
    records = [json.loads(line) for line in (tmp_path / "run/trials.jsonl").read_text().splitlines()]
    shown = page_data(result.details, tmp_path / "run", records)
    for model in shown["models"]:
        if model["prune"]:
            (bought,) = [model["bought"]]
            if bought is not None:  # beyond the first models nothing is compared
                assert bought["accuracy"] is not None
    assert len(shown["sensitivity"]["stages"]) == 1
