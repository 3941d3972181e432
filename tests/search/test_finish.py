from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from hwnas.compress.distill import FineTuneResult
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.pareto import is_non_dominated
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.export.bundle import artifacts_of
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.runtimes.torch_export import Torch
from hwnas.search import finish
from hwnas.search.evaluated import Evaluated
from hwnas.search.finish import Finisher, finishing_order
from hwnas.search.loop import costs_of
from hwnas.store import sha256_of


def records_of(rows: Sequence[tuple[float, float | None]], make_space: Callable[..., SearchSpace]) -> list[Evaluated]:
    space = make_space(range(1, len(rows) + 2), (1,))
    return [
        Evaluated(
            number,
            Candidate(space.architecture({"width": number + 1, "kernel": 1})),
            {"fake": latency_ms},
            {"fake": True},
            accuracy,
        )
        for number, (latency_ms, accuracy) in enumerate(rows)
    ]


def test_the_front_is_finished_first(make_space: Callable[..., SearchSpace]) -> None:
    rng = np.random.default_rng(0)
    records = records_of([(float(a), float(b)) for a, b in rng.random((40, 2))], make_space)
    order = finishing_order(records, 4)
    front = [r for r, keep in zip(records, is_non_dominated(costs_of(records, "fake")), strict=True) if keep]
    assert {r.number for r in order[: len(front)]} == {r.number for r in front}
    assert len(order) == len({r.number for r in order}) >= 12
    first = [r.latency_ms["fake"] for r in order[:4]]
    assert first == sorted(first)
    assert first[0] == min(r.latency_ms["fake"] for r in front)
    assert first[-1] == max(r.latency_ms["fake"] for r in front)


def test_of_equally_fast_ones_the_most_accurate_is_finished(make_space: Callable[..., SearchSpace]) -> None:
    records = records_of([(1.0, 0.5), (1.0, 0.7), (1.0 + 1e-9, 0.7), (2.0, 0.6)], make_space)
    assert [r.number for r in finishing_order(records, 4)] == [1, 3]


def test_what_failed_is_not_finished(make_space: Callable[..., SearchSpace]) -> None:
    records = records_of([(1.0, None), (2.0, 0.5), (3.0, None)], make_space)
    assert [r.number for r in finishing_order(records, 8)] == [1]
    assert finishing_order([], 8) == []


class Source:
    """Networks from fresh weights, and how often they were asked for."""

    def __init__(self, space: SearchSpace, task: Task, teacher: nn.Module | None = None) -> None:
        self.space, self.task, self.of_teacher, self.asked = space, task, teacher, 0

    def network(self, candidate: Candidate) -> nn.Module:
        self.asked += 1
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module: nn.Module = self.space.build(candidate.architecture, self.task)
        return module.eval()

    def is_final(self, candidate: Candidate) -> bool:
        return False

    def teacher(self) -> nn.Module | None:
        return self.of_teacher


@pytest.fixture
def source(few_digits: Task, make_space: Callable[..., SearchSpace]) -> Source:
    return Source(make_space(), few_digits)


def finisher(source: Source, folder: Path) -> Finisher:
    return Finisher(source, source.task, OnnxRuntime(), folder, frozenset(), seed=0)


def deployed_accuracy(path: Path, task: Task) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = task.preprocessing(task.test.inputs)
    logits = session.run(None, {session.get_inputs()[0].name: inputs})[0]
    return float((logits.argmax(1) == task.test.labels).mean())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_finished_model_is_a_file_that_does_what_is_said(source: Source, tmp_path: Path, precision: str) -> None:
    candidate = Candidate(source.space.largest(), CompressionPlan(precision))
    made = finisher(source, tmp_path).finish(candidate, epochs=2)
    path = tmp_path / made.manifest["artifact"]["path"]
    assert sha256_of(path) == made.manifest["artifact"]["sha256"]
    assert path.stat().st_size == made.manifest["artifact"]["size_bytes"]
    assert (made.test.n, made.test.split, made.test.source) == (100, "test", "deployed-file")
    counted = made.manifest["accuracy"]["test_by_class"]
    assert counted["n"] == [int((source.task.test.labels == label).sum()) for label in range(10)]
    assert sum(counted["right"]) / 100 == pytest.approx(made.test.accuracy)
    assert made.validation.split == "validation"
    assert deployed_accuracy(path, source.task) == pytest.approx(made.test.accuracy, abs=1e-12)
    assert made.manifest["fine_tuning"]["epochs"] == 2
    assert not made.manifest["fine_tuning"]["distilled"]
    aware = made.manifest["fine_tuning"]["quantization_aware"]
    assert (aware is not None) == (precision == "int8")
    if aware is not None:
        assert aware["epochs"] == 1
        assert aware["simulated_accuracy_after"] >= aware["simulated_accuracy_before"]


def test_a_finished_model_is_not_made_again(source: Source, tmp_path: Path) -> None:
    candidate = Candidate(source.space.smallest())
    made = finisher(source, tmp_path).finish(candidate, epochs=1)
    again = finisher(source, tmp_path).finish(candidate, epochs=1)
    assert source.asked == 1
    assert again.manifest == made.manifest
    assert again.test.accuracy == made.test.accuracy


@pytest.mark.parametrize("damage", ["file", "manifest", "gone", "key"])
def test_a_damaged_model_is_made_again(source: Source, tmp_path: Path, damage: str) -> None:
    candidate = Candidate(source.space.smallest())
    made = finisher(source, tmp_path).finish(candidate, epochs=1)
    path = tmp_path / made.manifest["artifact"]["path"]
    manifest = tmp_path / "models" / candidate.id / "manifest.json"
    if damage == "file":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "gone":
        path.unlink()
    else:
        manifest.write_text({"manifest": "{", "key": '{"schema": 1}'}[damage])
    found = finisher(source, tmp_path)
    assert found.known(candidate) is None
    again = found.finish(candidate, epochs=1)
    assert source.asked == 2
    assert again.test.accuracy == made.test.accuracy
    assert found.known(candidate) is not None


def test_a_model_that_learned_from_small_images_sees_whole_ones_last(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[int, ...], int, int]] = []
    fine_tune = finish.fine_tune

    def watched(network: nn.Module, task: Task, **settings: Any) -> FineTuneResult:
        seen.append((task.input_shape, len(task.train), settings["epochs"]))
        assert settings["teacher"] is not None
        assert len(settings["teacher"]) == len(task.train)
        return fine_tune(network, task, **settings)

    monkeypatch.setattr(finish, "fine_tune", watched)
    monkeypatch.setattr(finish, "WHOLE_IMAGES", 100)
    source.of_teacher = source.network(Candidate(source.space.largest()))
    made = finisher(source, tmp_path)
    made.teacher_shrink = 2
    found = made.finish(Candidate(source.space.largest()), epochs=2, shrink=2)
    assert seen == [((1, 4, 4), len(source.task.train), 2), ((1, 8, 8), 100, 1)]
    assert found.manifest["fine_tuning"]["image_shrink"] == 2
    assert found.manifest["fine_tuning"]["epochs"] == 2
    path = tmp_path / found.manifest["artifact"]["path"]
    assert deployed_accuracy(path, source.task) == pytest.approx(found.test.accuracy, abs=1e-12)


def test_a_teacher_is_asked_once(
    few_digits: Task, make_space: Callable[..., SearchSpace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_space()
    asked: list[Any] = []
    source = Source(space, few_digits, Source(space, few_digits).network(Candidate(space.largest())))
    teacher = source.teacher
    monkeypatch.setattr(source, "teacher", lambda: (asked.append(1), teacher())[1])
    made = finisher(source, tmp_path)
    for architecture in (space.smallest(), space.largest()):
        assert made.finish(Candidate(architecture), epochs=1).manifest["fine_tuning"]["distilled"]
    assert len(asked) == 1


def test_without_time_a_model_is_exported_as_it_is(
    few_digits: Task, make_space: Callable[..., SearchSpace], tmp_path: Path
) -> None:
    space = make_space()
    source = Source(space, few_digits, Source(space, few_digits).network(Candidate(space.largest())))
    made = finisher(source, tmp_path).finish(Candidate(space.largest()), epochs=5, stop_after_s=0.0)
    assert made.manifest["fine_tuning"]["epochs"] == 0
    assert made.manifest["fine_tuning"]["distilled"] is False
    path = tmp_path / made.manifest["artifact"]["path"]
    assert deployed_accuracy(path, source.task) == pytest.approx(made.test.accuracy, abs=1e-12)


def on_two(rows: Sequence[tuple[float, float, float]], make_space: Callable[..., SearchSpace]) -> list[Evaluated]:
    records = records_of([(a_ms, accuracy) for a_ms, _, accuracy in rows], make_space)
    return [replace(r, latency_ms={"a": a, "b": b}) for r, (a, b, _) in zip(records, rows, strict=True)]


def test_devices_take_turns_in_finishing(make_space: Callable[..., SearchSpace]) -> None:
    # The first four are the front of a, the next four that of b, and the last is on both.
    a_front = [(float(i), 100.0 + i, 0.5 + 0.1 * i) for i in range(4)]
    b_front = [(100.0 + i, float(i), 0.5 + 0.1 * i) for i in range(4)]
    records = on_two([*a_front, *b_front, (10.0, 10.0, 0.95)], make_space)
    order = [record.number for record in finishing_order(records, 5)]
    assert sorted(order) == list(range(9))
    assert 8 in order[:5]  # the most accurate on both, and counted once
    assert len([n for n in order[:5] if n < 4]) == len([n for n in order[:5] if 4 <= n < 8]) == 2
    assert order[:2] == [0, 4]  # the fastest of each


def test_one_front_for_two_devices_is_that_of_one(make_space: Callable[..., SearchSpace]) -> None:
    rng = np.random.default_rng(3)
    rows = [(float(a), float(b)) for a, b in rng.random((40, 2))]
    one = finishing_order(records_of(rows, make_space), 4)
    both = finishing_order(on_two([(a, 2 * a, b) for a, b in rows], make_space), 4)
    assert {r.number for r in both[:4]} == {r.number for r in one[:4]}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_as_many_are_finished_as_were_asked_for(make_space: Callable[..., SearchSpace], count: int) -> None:
    rng = np.random.default_rng(count)
    records = on_two([(float(a), float(b), float(c)) for a, b, c in rng.random((60, 3))], make_space)
    order = finishing_order(records, count)
    assert len(order) == len({r.number for r in order}) >= count
    on_front = np.array([is_non_dominated(costs_of(records, device)) for device in ("a", "b")]).any(axis=0)
    assert all(on_front[r.number] for r in order[: min(count, int(on_front.sum()))])


class SecondOnnx(OnnxRuntime):
    """A runtime whose files have the format of another's."""

    name = "second"


def test_a_file_for_each_runtime(source: Source, tmp_path: Path) -> None:
    candidate = Candidate(source.space.largest())
    both = finisher(source, tmp_path)
    both.others = (Torch(), SecondOnnx())
    made = both.finish(candidate, epochs=1)
    files = {artifact["format"]: tmp_path / artifact["path"] for artifact in artifacts_of(made.manifest)}
    assert {name: path.name for name, path in files.items()} == {
        "onnx": "model.onnx",
        "pt2": "model.pt2",
        "second": "model.second.onnx",
    }
    for other in made.manifest["others"]:
        assert other["parity"] < 1e-4
        assert other["accuracy"]["test"]["value"] == pytest.approx(made.test.accuracy, abs=0.011)
    assert both.known(candidate) is not None
    files["pt2"].write_bytes(b"")
    assert both.known(candidate) is None
