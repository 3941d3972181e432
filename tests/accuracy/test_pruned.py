from __future__ import annotations

import pytest
import torch
from residual import Residual
from torch import nn

from hwnas.accuracy.pruned import PrunedEvaluator
from hwnas.accuracy.recalibrate import recalibrate
from hwnas.compress.distill import fine_tune
from hwnas.compress.prune import find_channels
from hwnas.compress.quantize import simulate
from hwnas.compress.space import NetworkSpace
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import Task
from hwnas.elastic.data import accuracy, normalised


@pytest.fixture(scope="module")
def network(few_digits: Task) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return fine_tune(Residual(1, 10), few_digits, epochs=3, lr=3e-3, batch_size=32).model


@pytest.fixture(scope="module")
def evaluator(network: nn.Module, few_digits: Task) -> PrunedEvaluator:
    space = NetworkSpace("mine", find_channels(network, few_digits.input_shape), few_digits)
    return PrunedEvaluator(space, few_digits)


def plan(evaluator: PrunedEvaluator, precision: str, **ratios: float) -> Candidate:
    return Candidate(evaluator.space.largest(), CompressionPlan.of(precision, ratios))


def test_unpruned_it_is_the_network_as_it_is(evaluator: PrunedEvaluator, network: nn.Module, few_digits: Task) -> None:
    candidate, x = plan(evaluator, "fp32"), normalised(few_digits.test.inputs[:8], few_digits.preprocessing)
    assert evaluator.is_final(candidate)
    assert torch.equal(evaluator.network(candidate)(x), network(x))
    found = evaluator.evaluate(candidate)
    assert found.accuracy == accuracy(network, few_digits.validation, few_digits.preprocessing)
    assert (found.n, found.split, found.source) == (100, "validation", "pruned")
    teacher = evaluator.teacher()
    assert teacher is not None
    assert torch.equal(teacher(x), network(x))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_pruned_it_is_recalibrated_and_rounded(evaluator: PrunedEvaluator, few_digits: Task, precision: str) -> None:
    candidate = plan(evaluator, precision, **{evaluator.space.stages[-1]: 0.5})
    assert not evaluator.is_final(candidate)
    x = normalised(few_digits.train.inputs[:128], few_digits.preprocessing)
    slow = recalibrate(evaluator.space.fresh(candidate), [x[:64], x[64:]])
    slow = simulate(slow, precision, x[:32])
    wanted = accuracy(slow, few_digits.validation, few_digits.preprocessing)
    assert evaluator.evaluate(candidate).accuracy == wanted
