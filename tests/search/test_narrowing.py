from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.compress.sensitivity import SENSITIVITY
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.evaluation import Evaluation
from hwnas.core.task import Task
from hwnas.errors import TrainingError
from hwnas.plugins import load_plugin
from hwnas.search.budget import Budget
from hwnas.search.joint import JointSpace
from hwnas.search.narrowing import known_sensitivity, narrowed, stage_sensitivity


class Delicate:
    """Right nine times of ten, unless more than a quarter of a delicate stage is cut: then it guesses."""

    def __init__(self, delicate: tuple[str, ...] = (), *, is_finite: bool = True, seconds: float = 0.0) -> None:
        self.delicate, self.is_finite, self.seconds, self.asked = delicate, is_finite, seconds, list[Candidate]()

    def evaluate(self, candidate: Candidate) -> Evaluation:
        self.asked.append(candidate)
        if not self.is_finite:
            raise TrainingError("the network's output is not finite")
        ruined = any(ratio > 0.25 for stage, ratio in candidate.compression.prune if stage in self.delicate)
        return Evaluation(0.1 if ruined else 0.9, 50, "validation", "fp32", "supernet", self.seconds)

    def closer(self) -> None:
        return None


@pytest.fixture
def joint(make_joint: Callable[..., JointSpace]) -> JointSpace:
    return make_joint(load_plugin("space", "mobilenet"))


def test_each_stage_of_the_largest_network_is_tried_once(
    joint: JointSpace, few_digits: Task, recorder: Any, tmp_path: Path
) -> None:
    evaluator = Delicate(("s2",))
    found = stage_sensitivity(tmp_path, joint, few_digits, evaluator, recorder)
    assert found is not None
    assert (found.accuracy, found.n, set(found.stages)) == (0.9, 50, set(joint.stages))
    assert {stage: found.ratios(stage)[-1] for stage in found.stages} == {
        stage: 0.25 if stage == "s2" else 0.5 for stage in joint.stages
    }
    assert len(evaluator.asked) == recorder.steps["sensitivity"] == 1 + 2 * len(joint.stages)
    assert {candidate.architecture for candidate in evaluator.asked} == {joint.space.largest()}
    # The run folder keeps it, for a search that is resumed and for workers.
    assert known_sensitivity(tmp_path, joint) == found
    assert stage_sensitivity(tmp_path, joint, few_digits, Delicate(is_finite=False), recorder) == found
    (tmp_path / SENSITIVITY).write_text("{")
    assert known_sensitivity(tmp_path, joint) is None
    assert stage_sensitivity(tmp_path, joint, few_digits, evaluator, recorder) == found


def test_ratios_that_cost_too_much_are_not_searched(
    joint: JointSpace, make_budget: Callable[..., Budget], few_digits: Task, recorder: Any, tmp_path: Path
) -> None:
    wide = make_budget(joint)
    found = stage_sensitivity(tmp_path, joint, few_digits, Delicate(("s2", "s4")), recorder)
    fewer = narrowed(wide, found, seed=0)
    assert fewer.joint.choices == joint.choices  # those of a study do not change
    assert (fewer.joint.ratios("s2"), fewer.joint.ratios("s1")) == ((0.0, 0.25), (0.0, 0.25, 0.5))
    rng, seen = np.random.default_rng(0), set()
    for _ in range(200):
        candidate = fewer.joint.sample(rng)
        assert fewer.joint.accepts(candidate)
        seen |= set(candidate.compression.prune)
    assert ("s1", 0.5) in seen
    assert not seen & {("s2", 0.5), ("s4", 0.5)}
    assert not fewer.joint.accepts(Candidate(joint.space.largest(), CompressionPlan.of("fp32", {"s2": 0.5})))
    smallest = fewer.smallest()
    assert fewer.joint.accepts(smallest)
    assert fewer.excess(smallest) == 0
    assert narrowed(wide, None, seed=0) is wide


def test_limits_come_first(
    joint: JointSpace, make_budget: Callable[..., Budget], few_digits: Task, recorder: Any, tmp_path: Path
) -> None:
    least = make_budget(joint)
    reach_ms = least.predict(least.smallest())["fake"].latency_ms
    wide = make_budget(joint, max_latency_ms=1.0001 * reach_ms)
    found = stage_sensitivity(tmp_path, joint, few_digits, Delicate(joint.stages), recorder)
    assert narrowed(wide, found, seed=0) is wide


@pytest.mark.parametrize("kind", ["a plain space", "nothing is pruned", "not finite"])
def test_nothing_is_narrowed(
    kind: str, joint: JointSpace, make_joint: Callable[..., JointSpace], few_digits: Task, recorder: Any, tmp_path: Path
) -> None:
    if kind == "a plain space":
        joint = make_joint()
    elif kind == "nothing is pruned":
        joint = JointSpace(joint.space, joint.task, joint.precisions, 8, ())
    evaluator = Delicate(is_finite=kind != "not finite")
    assert stage_sensitivity(tmp_path, joint, few_digits, evaluator, recorder) is None
    assert bool(recorder.notes) is (kind == "not finite")
    assert len(evaluator.asked) == (kind == "not finite")
    assert not (tmp_path / SENSITIVITY).exists()


@pytest.mark.parametrize("most_s", [8.9, 9.1])
def test_it_takes_no_more_time_than_there_is(
    most_s: float, joint: JointSpace, few_digits: Task, recorder: Any, tmp_path: Path
) -> None:
    evaluator = Delicate(seconds=1.0)
    found = stage_sensitivity(tmp_path, joint, few_digits, evaluator, recorder, most_s)
    assert 1 + 2 * len(joint.stages) == 9
    assert (found is None, len(evaluator.asked)) == ((True, 1) if most_s < 9 else (False, 9))
