"""What the spaces for sounds and texts have in common."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hwnas.search_spaces.ds_cnn import SPACE as DS_CNN
from hwnas.search_spaces.tiny_transformer import SPACE as TINY_TRANSFORMER

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import TaskShape
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.supernet import Supernet
from hwnas.errors import ConfigError
from hwnas.onnx_ops.operations import onnx_operations
from hwnas.plugins import load_plugin
from hwnas.runtimes.exporting import export_onnx
from hwnas.trace import operations, trace_module

WAVE, LONG_WAVE = TaskShape((1, 5360), 10, sample_rate=8000), TaskShape((1, 16000), 35, sample_rate=16000)
TEXT, SHORT_TEXT = TaskShape((40,), 2, n_ids=300), TaskShape((8,), 5, n_ids=20)
CASES = [(DS_CNN, WAVE), (DS_CNN, LONG_WAVE), (TINY_TRANSFORMER, TEXT), (TINY_TRANSFORMER, SHORT_TEXT)]
IDS = ["ds-cnn-8k", "ds-cnn-16k", "tiny-transformer-40", "tiny-transformer-8"]


def inputs(task: TaskShape, n: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if task.n_ids is None:
        return 0.1 * torch.randn(n, *task.input_shape, generator=generator)
    ids = torch.randint(2, task.n_ids, (n, *task.input_shape), generator=generator)
    ids[0, task.input_shape[0] // 2 :] = 0
    return ids


def lively(space: ElasticSpace, task: TaskShape, seed: int = 0) -> tuple[ElasticSpace, Supernet]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = space.supernet(task)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return space.for_task(task), net


@pytest.mark.parametrize("space", [DS_CNN, TINY_TRANSFORMER], ids=["ds-cnn", "tiny-transformer"])
def test_they_are_installed_and_large(space: ElasticSpace) -> None:
    assert load_plugin("space", space.name) is space
    assert space.size > 1e6


@pytest.mark.parametrize(("space", "task"), CASES, ids=IDS)
def test_a_subnet_that_is_cut_out_answers_as_it_did_inside(space: ElasticSpace, task: TaskShape) -> None:
    for seed in range(3):
        bound, net = lively(space, task, seed)
        architecture = bound.sample(np.random.default_rng(seed))
        x = inputs(task)
        with torch.no_grad():
            inside, outside = net(x, dict(architecture)), net.extract(architecture).train()(x)
        assert outside.shape == (4, task.n_outputs)
        scale = float(inside.abs().max())
        torch.testing.assert_close(outside / scale, inside / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("space", "task"), CASES, ids=IDS)
def test_a_pruned_subnet_has_the_operations_that_were_foretold(space: ElasticSpace, task: TaskShape) -> None:
    bound, net = lively(space, task)
    rng = np.random.default_rng(0)
    for ratio in (0.0, 0.25, 0.5):
        plan = CompressionPlan.of("fp32", dict.fromkeys(bound.stages, ratio) if ratio else {})
        architecture = bound.sample(rng)
        module = net.extract(architecture, plan)
        foretold = operations(bound, Candidate(architecture, plan), task)
        found = trace_module(module, task.input_shape, dtype=task.dtype)
        kinds = ("conv", "pointwise", "depthwise", "linear", "matmul", "norm", "embedding", "softmax")
        wanted = [(op.kind, op.output, op.params, op.macs, op.fixed) for op in foretold if op.kind in kinds]
        assert [(op.kind, op.output, op.params, op.macs, op.fixed) for op in found if op.kind in kinds] == wanted
        assert module(inputs(task)).shape == (4, task.n_outputs)


@pytest.mark.parametrize(("space", "task"), CASES, ids=IDS)
def test_pruning_makes_every_stage_smaller(space: ElasticSpace, task: TaskShape) -> None:
    bound = space.for_task(task)
    whole = operations(bound, Candidate(bound.largest()), task)
    assert operations(bound, Candidate(bound.smallest()), task).macs < whole.macs / 2
    assert bound.stages
    for stage in bound.stages:
        pruned = operations(bound, Candidate(bound.largest(), CompressionPlan.of("fp32", {stage: 0.5})), task)
        assert (pruned.macs, pruned.params) < (whole.macs, whole.params)


@pytest.mark.parametrize(("space", "task"), CASES[::2], ids=IDS[::2])
def test_a_file_has_the_work_that_was_foretold(space: ElasticSpace, task: TaskShape, tmp_path: Path) -> None:
    bound, net = lively(space, task)
    architecture = bound.largest()
    export_onnx(net.extract(architecture), task.input_shape, tmp_path / "model.onnx", dtype=task.dtype)
    read = onnx_operations(tmp_path / "model.onnx", [])
    assert read.operations.macs == operations(bound, Candidate(architecture), task).macs


def test_padding_changes_nothing() -> None:
    bound, net = lively(TINY_TRANSFORMER, TEXT)
    model = net.extract(bound.largest())
    ids = inputs(TEXT)
    with torch.no_grad():
        before = model(ids)[0]
        model[0].words.weight[0] += 5.0  # the vector of padding
        torch.testing.assert_close(model(ids)[0], before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("space", "task"),
    [
        (DS_CNN, TaskShape((3, 32, 32), 10)),
        (DS_CNN, TaskShape((1, 16000), 10)),
        (DS_CNN, TaskShape((2, 16000), 10, sample_rate=16000)),
        (DS_CNN, TaskShape((1, 700), 10, sample_rate=8000)),
        (DS_CNN, TaskShape((1, 16000), 10, sample_rate=2000)),
        (TINY_TRANSFORMER, TaskShape((40,), 2)),
        (TINY_TRANSFORMER, TaskShape((3, 32, 32), 10)),
        (TINY_TRANSFORMER, TaskShape((1000,), 2, n_ids=9)),
        (load_plugin("space", "mobilenet"), TEXT),
        (load_plugin("space", "mobilenet"), WAVE),
    ],
)
def test_inputs_that_do_not_fit_are_refused(space: ElasticSpace, task: TaskShape) -> None:
    with pytest.raises(ConfigError, match=r"space '.*' takes .*, got"):
        space.for_task(task)
