from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET
from hwnas.search_spaces.nasbench201 import SPACE as NASBENCH201

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.space import PRUNE_RATIOS, Choice, SearchSpace
from hwnas.core.task import TaskShape
from hwnas.search.joint import JointSpace

MakeJoint = Callable[..., JointSpace]
MakeSpace = Callable[..., SearchSpace]


@pytest.fixture
def mobile(make_joint: MakeJoint) -> JointSpace:
    return make_joint(MOBILENET, ("fp32", "int8"))


def test_choices(make_joint: MakeJoint, mobile: JointSpace) -> None:
    assert [choice.label for choice in make_joint().choices] == ["kernel", "width", "precision"]
    labels = [choice.label for choice in mobile.choices]
    assert labels[-5:] == ["precision", "prune.s1", "prune.s2", "prune.s3", "prune.s4"]
    assert mobile.choices[-1].options == PRUNE_RATIOS


def test_values_are_the_inverse_of_candidate(mobile: JointSpace) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        candidate = mobile.sample(rng)
        assert mobile.candidate(mobile.values(candidate)) == candidate
        assert set(mobile.values(candidate)) == {choice.label for choice in mobile.choices}


def test_canonical_twice_is_canonical_once_and_the_same_network(mobile: JointSpace) -> None:
    rng = np.random.default_rng(1)
    changed = 0
    for _ in range(40):
        architecture = mobile.space.sample(rng)
        ratios = {stage: float(rng.choice(PRUNE_RATIOS)) for stage in mobile.stages}
        candidate = Candidate(architecture, CompressionPlan.of("int8", ratios))
        same = mobile.canonical(candidate)
        changed += same != candidate
        assert mobile.canonical(same) == same
        assert list(mobile.operations(same)) == list(mobile.operations(candidate))
    assert changed > 20


def test_labels_of_absent_blocks_do_not_count(mobile: JointSpace) -> None:
    values = mobile.values(Candidate(mobile.space.smallest()))
    assert values["s4.depth"] == 1
    others = [values | {"s4.2.kernel": kernel, "s4.1.expand": expand} for kernel in (3, 5, 7) for expand in (3, 4, 6)]
    assert len({mobile.candidate(other) for other in others}) == 1
    deeper = [other | {"s4.depth": 3} for other in others]
    assert len({mobile.candidate(other) for other in deeper}) == 9


def test_ratios_that_cut_nothing_are_dropped(mobile: JointSpace) -> None:
    coarse = replace(mobile, multiple=10_000)  # no layer is wider than that
    full = CompressionPlan.of("fp32", dict.fromkeys(mobile.stages, 0.5))
    candidate = Candidate(mobile.space.largest(), full)
    assert coarse.canonical(candidate).compression.prune == ()
    assert mobile.canonical(candidate).compression == full


def test_two_ratios_that_cut_the_same_stay_apart_only_if_they_differ(make_joint: MakeJoint) -> None:
    # 16 channels in steps of 16: nothing can go; 64 channels: a quarter is 16.
    task = TaskShape((3, 32, 32), 10)
    joint = JointSpace(NASBENCH201.for_task(task), task, ("fp32",), 16, NASBENCH201.stages)
    plan = CompressionPlan.of("fp32", {"s1": 0.5, "s3": 0.25})
    found = joint.canonical(Candidate(NASBENCH201.largest(), plan))
    assert found.compression.prune == (("s3", 0.25),)


def test_stages_that_are_left_out_are_never_pruned(mobile: JointSpace) -> None:
    joint = replace(mobile, stages=("s2",))
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert {stage for stage, _ in joint.sample(rng).compression.prune} <= {"s2"}


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_mutation_changes_so_many_choices(make_joint: MakeJoint, n: int) -> None:
    joint = make_joint()
    rng = np.random.default_rng(n)
    start = joint.sample(rng)
    for _ in range(20):
        other = joint.mutate(start, rng, n)
        before, after = joint.values(start), joint.values(other)
        assert sum(before[label] != after[label] for label in before) == min(n, 3)


def test_a_space_of_one_candidate_does_not_mutate(
    make_joint: MakeJoint, make_space: Callable[..., SearchSpace]
) -> None:
    joint = make_joint(make_space((4,), (3,)), ("fp32",))
    only = joint.sample(np.random.default_rng(0))
    assert joint.mutate(only, np.random.default_rng(0), 3) == only
    assert joint.all(10) == [only]


def test_all_candidates(make_joint: MakeJoint) -> None:
    joint = make_joint()
    every = joint.all(12)
    assert every is not None
    assert len(every) == len(set(every)) == 12
    assert joint.all(11) is None


def test_all_leaves_out_what_is_not_accepted_and_what_is_equal(make_joint: MakeJoint) -> None:
    space = SearchSpace(
        "odd",
        [Choice("width", (4, 8, 16)), Choice("kernel", (1, 3))],
        lambda architecture, task: None,
        accepts=lambda values: values["width"] != 8,
    )
    joint = make_joint(space, ("fp32",))
    every = joint.all(100)
    assert every is not None
    assert {candidate.architecture["width"] for candidate in every} == {4, 16}
    assert len(every) == 4
