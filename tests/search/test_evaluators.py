from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.accuracy.supernet import SupernetEvaluator
from hwnas.accuracy.trained import TrainedEvaluator
from hwnas.core.candidate import Candidate
from hwnas.core.device import Device
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task, TaskLike
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.train import TrainSettings
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.search.config import SearchConfig
from hwnas.search.effort import Effort
from hwnas.search.evaluators import make_evaluators
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import Setup
from hwnas.search.targets import Targets

MOON = Device(name="moon", title="A rock", kind="cpu", runtime="none")
EFFORT = Effort(TrainSettings(epochs=2, batch_size=64), epochs_alone=3, finish_macs=1e9, validation_limit=30)


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    return [ElasticConvBlock("w", task.input_shape[0], (4, 8), stride=2), ElasticClassifier(8, task.n_outputs)]


TINY = ElasticSpace("tiny", blocks)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.open(SearchConfig(devices=("cpu",), out=tmp_path / "run", seed=3), label="")


def targets_of(space: SearchSpace, task: Task) -> Targets:
    return Targets((Setup(MOON, space.for_task(task), task, ("fp32",), OnnxRuntime()),))


def test_a_plain_space_trains_each_candidate(
    few_digits: Task, folder: RunFolder, recorder: Any, make_space: Callable[..., SearchSpace]
) -> None:
    evaluator, source = make_evaluators(folder, targets_of(make_space(), few_digits), EFFORT, recorder)
    assert isinstance(evaluator, TrainedEvaluator)
    assert source is evaluator
    assert (evaluator.epochs, evaluator.seed) == (3, 3)
    assert evaluator.folder.parent == folder.path
    assert not recorder.phases


def test_a_supernet_is_trained_on_the_way(few_digits: Task, folder: RunFolder, recorder: Any) -> None:
    evaluator, source = make_evaluators(folder, targets_of(TINY, few_digits), EFFORT, recorder)
    assert isinstance(evaluator, SupernetEvaluator)
    assert recorder.phases == ["train the supernet"]
    assert recorder.steps["train the supernet"] == 1000
    candidate = Candidate(TINY.for_task(few_digits).smallest())
    assert evaluator.evaluate(candidate).n == 30
    # A second session finds the weights, and makes the same evaluators.
    again, _ = make_evaluators(folder, targets_of(TINY, few_digits), EFFORT, recorder)
    assert recorder.steps["train the supernet"] == 1000
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(again.network(candidate)(x), source.network(candidate)(x))  # type: ignore[attr-defined]


def test_candidates_are_compared_on_small_images_and_finished_on_whole_ones(
    few_digits: Task, folder: RunFolder, recorder: Any
) -> None:
    task = few_digits
    cheap, whole = make_evaluators(folder, targets_of(TINY, task), replace(EFFORT, shrink=2), recorder)
    assert isinstance(cheap, SupernetEvaluator)
    assert isinstance(whole, SupernetEvaluator)
    assert cheap.task.input_shape == (1, 4, 4)
    assert whole.task is task
    assert cheap.net is whole.net
