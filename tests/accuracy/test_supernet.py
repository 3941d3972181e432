from __future__ import annotations

import math

import pytest
import torch
from hwnas.search_spaces.mobilenet import SPACE

from hwnas.accuracy.recalibrate import recalibrate
from hwnas.accuracy.supernet import SupernetEvaluator
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.task import Task
from hwnas.elastic.data import accuracy, normalised
from hwnas.elastic.supernet import Supernet
from hwnas.errors import TrainingError


@pytest.fixture
def net(few_digits: Task) -> Supernet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SPACE.supernet(few_digits)


def evaluator(net: Supernet, task: Task, limit: int | None = None) -> SupernetEvaluator:
    return SupernetEvaluator(net, SPACE.for_task(task).largest(), task, limit=limit)


@pytest.mark.parametrize(("limit", "n"), [(None, 100), (40, 40), (1000, 100)])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_evaluation_says_what_it_was_read_on(
    net: Supernet, few_digits: Task, precision: str, limit: int | None, n: int
) -> None:
    candidate = Candidate(SPACE.for_task(few_digits).smallest(), CompressionPlan.of(precision, {"s2": 0.5}))
    found = evaluator(net, few_digits, limit).evaluate(candidate)
    assert (found.n, found.split, found.precision, found.source) == (n, "validation", precision, "supernet")
    assert 0 <= found.accuracy <= 1
    assert found.accuracy * n == pytest.approx(round(found.accuracy * n))


def test_the_best_are_read_on_the_whole_split(net: Supernet, few_digits: Task) -> None:
    made = evaluator(net, few_digits, 40)
    candidate = Candidate(SPACE.for_task(few_digits).smallest())
    closer = made.closer()
    assert closer is not None
    assert (made.evaluate(candidate).n, closer.evaluate(candidate).n) == (40, 100)
    assert closer.evaluate(candidate).accuracy == evaluator(net, few_digits).evaluate(candidate).accuracy
    assert closer.closer() is None
    assert evaluator(net, few_digits, 100).closer() is None


def test_it_is_the_accuracy_of_the_recalibrated_subnet(net: Supernet, few_digits: Task) -> None:
    task, space = few_digits, SPACE.for_task(few_digits)
    made = evaluator(net, task)
    candidate = Candidate(space.smallest())
    x = normalised(task.train.inputs[:128], task.preprocessing)
    slow = recalibrate(net.extract(candidate.architecture), [x[:64], x[64:]])
    assert made.evaluate(candidate).accuracy == accuracy(slow, task.validation, task.preprocessing)
    torch.testing.assert_close(made.network(candidate)(x[:4]), slow(x[:4]))
    # The same again: nothing of one evaluation is left for the next.
    assert made.evaluate(candidate).accuracy == made.evaluate(candidate).accuracy


def test_the_teacher_is_the_largest(net: Supernet, few_digits: Task) -> None:
    teacher = evaluator(net, few_digits).teacher()
    assert teacher is not None
    largest = Candidate(SPACE.for_task(few_digits).largest())
    wanted = net.extract(largest.architecture)
    assert sum(p.numel() for p in teacher.parameters()) == sum(p.numel() for p in wanted.parameters())
    assert not teacher.training


def test_a_subnet_that_is_not_finite(net: Supernet, few_digits: Task) -> None:
    candidate = Candidate(SPACE.for_task(few_digits).smallest())
    with torch.no_grad():
        next(net.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=f"candidate {candidate.id}.*not finite"):
        evaluator(net, few_digits).evaluate(candidate)
