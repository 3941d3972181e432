from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hwnas.search_spaces.mobilenet import SPACE as MOBILENET

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.space import Choice, SearchSpace
from hwnas.errors import BuildError, TrainingError
from hwnas.search.budget import Budget
from hwnas.search.evaluated import Evaluated
from hwnas.search.joint import JointSpace
from hwnas.search.loop import LEAST_EVALUATED, FrontTracker, Loop
from hwnas.search.study import SearchStudy

Make = Callable[..., Any]


@pytest.fixture
def parts(make_joint: Make, make_budget: Make, make_evaluator: Make, make_study: Make, make_loop: Make) -> Make:
    """Everything that a loop needs, from fakes: `parts(joint, n_trials, failing=..., **budget) -> loop`."""

    def make(
        joint: JointSpace | None = None,
        n_trials: int | None = 8,
        *,
        failing: Callable[[Candidate], bool] = lambda candidate: False,
        study: str = "study.journal",
        loop: dict[str, Any] | None = None,
        **limits: Any,
    ) -> Loop:
        joint = joint or make_joint()
        made: Loop = make_loop(
            make_study(joint, name=study),
            make_budget(joint, **limits),
            make_evaluator(joint, failing),
            n_trials,
            **(loop or {}),
        )
        return made

    return make


@pytest.fixture
def joint(make_joint: Make, make_space: Make) -> JointSpace:
    made: JointSpace = make_joint(make_space(range(4, 24), (1, 3, 5)))
    return made


def evaluated(loop: Loop) -> list[Candidate]:
    return [record.candidate for record in loop.study.evaluated]


def test_no_candidate_is_evaluated_twice(parts: Make, joint: JointSpace) -> None:
    loop = parts(joint, 25)
    records = loop.run()
    assert len(records) == 25
    assert len(set(evaluated(loop))) == 25
    assert loop.evaluator.seen == evaluated(loop)


@pytest.mark.parametrize("n_trials", [50, 12])
def test_a_small_space_ends_when_all_was_seen(parts: Make, make_joint: Make, recorder: Any, n_trials: int) -> None:
    joint = make_joint()
    loop = parts(joint, n_trials)
    loop.run()
    assert set(evaluated(loop)) == set(joint.all(100))
    assert len(evaluated(loop)) == 12
    assert bool(recorder.notes) == (n_trials > 12)
    assert all("all candidates within the budgets were evaluated (12)" in note for note in recorder.notes)


def test_a_space_of_one(parts: Make, make_joint: Make, make_space: Make) -> None:
    loop = parts(make_joint(make_space((4,), (1,)), ("fp32",)), 5)
    assert len(loop.run()) == 1


def test_the_search_begins_with_both_ends(parts: Make, make_joint: Make) -> None:
    joint = make_joint(MOBILENET)
    loop = parts(joint, 3)
    loop.run()
    assert evaluated(loop)[0] == loop.budget.smallest()
    assert evaluated(loop)[1].architecture == joint.space.largest()


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_only_what_is_within_the_budget_is_evaluated(parts: Make, joint: JointSpace, share: float) -> None:
    free = parts(joint, 2, study="free")
    free.run()
    low, high = (record.latency_ms["fake"] for record in free.study.evaluated)
    limit = low + share * (high - low)
    loop = parts(joint, 12, max_latency_ms=limit)
    assert [record for record in loop.run() if record.latency_ms["fake"] > limit] == []
    fitting = [c for c in joint.all(1000) or () if loop.budget.scorer.predict(c).latency_ms <= limit]
    assert len(set(evaluated(loop))) == min(12, len(fitting))


def test_no_candidate_over_the_memory_is_evaluated(parts: Make, make_joint: Make) -> None:
    joint = make_joint()
    memory_mb = parts(joint).budget.scorer.memory_mb
    limit = sorted(memory_mb(candidate) for candidate in joint.all(100))[5]
    loop = parts(joint, 12, study="tight", max_memory_mb=limit)
    loop.run()
    assert set(evaluated(loop)) == {candidate for candidate in joint.all(100) if memory_mb(candidate) <= limit}


def test_a_budget_that_few_meet_ends_the_search(parts: Make, make_joint: Make) -> None:
    joint = make_joint()
    latencies = sorted(parts(joint).budget.scorer.predict(candidate).latency_ms for candidate in joint.all(100))
    loop = parts(joint, 12, study="tight", max_latency_ms=latencies[3])
    assert sorted(record.latency_ms["fake"] for record in loop.run()) == latencies[:4]


def test_what_the_predictor_does_not_know_is_left_out(parts: Make, make_joint: Make) -> None:
    loop = parts(make_joint(), 12, known_macs=1_500, in_domain_only=True)
    records = loop.run()
    assert 0 < len(records) < 12
    assert all(record.in_domain["fake"] for record in records)
    assert not all(record.in_domain["fake"] for record in parts(make_joint(), 12, study="b", known_macs=1_500).run())


def test_what_the_space_does_not_accept_is_left_out(parts: Make, make_joint: Make, make_space: Make) -> None:
    plain = make_space()
    space = SearchSpace("plain", plain.choices, plain.build, accepts=lambda values: values["width"] != 8)
    loop = parts(make_joint(space), 12)
    loop.run()
    assert {candidate.architecture["width"] for candidate in evaluated(loop)} == {4, 16}
    assert len(evaluated(loop)) == 8


def test_a_candidate_that_fails_does_not_end_the_search(parts: Make, recorder: Any) -> None:
    loop = parts(None, 12, failing=lambda candidate: candidate.architecture["width"] == 8)
    records = loop.run()
    assert len(records) == 12
    failed = [record for record in records if record.failure]
    assert len(failed) == 4
    assert all(record.accuracy is None and "loss is nan" in str(record.failure) for record in failed)
    assert all(record.candidate.architecture["width"] != 8 for record in loop.tracker.records)
    notes = [note for note in recorder.notes if "not evaluated" in note]
    assert len(notes) == 3
    assert "further ones are only counted" in notes[-1]


def test_failed_evaluations_are_made_up_for(parts: Make, joint: JointSpace, recorder: Any) -> None:
    records = parts(joint, 6, failing=lambda candidate: candidate.architecture["kernel"] == 5).run()
    worked = [record for record in records if record.accuracy is not None]
    assert len(worked) == 6 < len(records)
    # But not without end.
    assert len(parts(joint, 6, study="bad", failing=lambda c: c != worked[0].candidate).run()) == 12


@pytest.mark.parametrize(("n_trials", "tried"), [(12, 10), (4, 4), (None, 10)])
def test_a_search_in_which_nothing_works_says_why(parts: Make, n_trials: int | None, tried: int) -> None:
    loop = parts(None, n_trials, failing=lambda candidate: True)
    with pytest.raises(TrainingError, match=f"each of the first {tried} evaluations failed") as caught:
        loop.run()
    assert f"candidate {loop.evaluator.seen[0].id}" in str(caught.value)
    assert len(loop.evaluator.seen) == tried


def test_what_cannot_be_built_ends_the_search(parts: Make) -> None:
    loop = parts()

    def broken(candidate: Candidate) -> None:
        raise BuildError(f"architecture {dict(candidate.architecture)}: build raised")

    loop.evaluator.evaluate = broken
    with pytest.raises(BuildError, match="build raised"):
        loop.run()


def test_time_ends_the_search(parts: Make, joint: JointSpace) -> None:
    loop = parts(joint, None, loop={"deadline_s": time.monotonic() + 0.5})
    assert loop.run()
    late = parts(joint, None, study="late", loop={"deadline_s": time.monotonic()}).run()
    assert len(late) == LEAST_EVALUATED  # a poor front is better than none


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kill_in", ["evaluate", "tell", "advance"])
def test_killed_again_and_again_it_is_the_unbroken_search(
    parts: Make, joint: JointSpace, kill_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = parts(joint, 12, study="unbroken").run()
    for _ in range(30):
        loop = parts(joint, 12, study="broken")
        target = {"evaluate": loop.evaluator, "tell": loop.study, "advance": loop.listener}[kill_in]
        calls, whole = 0, getattr(target, kill_in)

        def second_call_kills(*values: Any, whole: Any = whole, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise Killed
            return whole(*values, **more)

        with monkeypatch.context() as patch:
            patch.setattr(target, kill_in, second_call_kills)
            try:
                found = loop.run()
            except Killed:
                continue
        break
    assert [(r.candidate, r.accuracy) for r in found] == [(r.candidate, r.accuracy) for r in wanted]


def record(latency_ms: float, accuracy: float | None, number: int = 0) -> Evaluated:
    space = SearchSpace("one", [Choice("n", tuple(range(100)))], lambda a, t: None)
    candidate = Candidate(space.architecture({"n": number}), CompressionPlan())
    return Evaluated(number, candidate, {"fake": latency_ms}, {"fake": True}, accuracy)


@pytest.mark.parametrize("n", [0, 1, 2, 9])
def test_hypervolume_of_a_staircase(n: int) -> None:
    tracker = FrontTracker({"fake": (float(n), 1.0)})
    for i in np.random.default_rng(n).permutation(n):
        # errors 1 - 1/n, 1 - 2/n, ... at latencies 0, 1, ...
        tracker.add(record(float(i), (i + 1) / n, int(i)))
    assert len(tracker.records) == n
    wanted = sum((n - i) / n for i in range(n))  # each stair adds 1/n of error over the rest of the latency
    assert tracker.hypervolume == pytest.approx(wanted)


def test_the_tracker_keeps_the_front_alone() -> None:
    tracker = FrontTracker({"fake": (4.0, 1.0)})
    tracker.add(record(2.0, 0.5, 0))
    tracker.add(record(3.0, 0.4, 1))  # dominated
    assert [r.number for r in tracker.records] == [0]
    tracker.add(record(1.0, 0.5, 2))  # dominates the first
    assert [r.number for r in tracker.records] == [2]
    assert tracker.hypervolume == pytest.approx(3 * 0.5)
    before = tracker.hypervolume
    tracker.add(record(0.5, None, 3))  # failed
    tracker.add(record(9.0, 1.0, 4))  # on the front, beyond the reference point
    assert [r.number for r in tracker.records] == [2, 4]
    assert tracker.hypervolume == before


def test_an_empty_tracker_has_no_area() -> None:
    assert FrontTracker({"fake": (1.0, 1.0)}).hypervolume == 0


def test_the_types_are_what_they_say(parts: Make) -> None:
    loop = parts()
    assert isinstance(loop.study, SearchStudy)
    assert isinstance(loop.budget, Budget)


def test_what_is_shown_of_several_devices() -> None:
    tracker = FrontTracker({"a": (4.0, 1.0), "b": (100.0, 1.0)})
    one = record(1.0, 0.5, 0)
    tracker.add(replace(one, latency_ms={"a": 2.0, "b": 10.0}))
    assert tracker.hypervolume == pytest.approx(math.sqrt((2 * 0.5) * (90 * 0.5)))
    tracker.add(replace(one, number=1, latency_ms={"a": 1.0, "b": 20.0}))  # on the front of a alone
    tracker.add(replace(one, number=2, latency_ms={"a": 3.0, "b": 30.0}))  # on none
    assert [r.number for r in tracker.records] == [0, 1]
    assert tracker.hypervolume == pytest.approx(math.sqrt((3 * 0.5) * (90 * 0.5)))


def test_a_search_for_several_devices_evaluates_once(
    make_joint: Make, make_space: Make, make_budget: Make, make_evaluator: Make, make_study: Make, make_loop: Make
) -> None:
    joint, devices = make_joint(make_space(range(4, 24), (1, 3, 5))), ("fake", "other")
    study, evaluator = make_study(joint, devices=devices), make_evaluator(joint)
    records = make_loop(study, make_budget(joint, devices=devices), evaluator, 10).run()
    assert len(evaluator.seen) == len(set(evaluator.seen)) == len(records) == 10
    for found in records:
        ops = joint.operations(found.candidate)
        speed = {"fp32": 1.0, "int8": 0.4}[found.candidate.compression.precision]
        assert found.latency_ms["fake"] == pytest.approx((0.1 + ops.macs / 1e6) * speed)
        assert found.latency_ms["other"] == pytest.approx((0.1 + ops.params / 1e4) * speed)
