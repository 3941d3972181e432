from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.errors import TrainingError
from hwnas.search.effort import Clock
from hwnas.search.evaluated import Evaluated
from hwnas.search.joint import JointSpace
from hwnas.search.ladder import GROUP, LADDER, Ladder, best_of_neighbours


class Closer:
    """Adds a thousandth to the accuracy for each rung; remembers whom it was asked about."""

    def __init__(self, rungs: int, asked: list[tuple[int, Candidate]], failing: Candidate | None = None) -> None:
        self.rungs, self.asked, self.failing, self.rung = rungs, asked, failing, 0

    def closer(self) -> Closer | None:
        if self.rung == self.rungs:
            return None
        found = Closer(self.rungs, self.asked, self.failing)
        found.rung = self.rung + 1
        return found

    def evaluate(self, candidate: Candidate) -> Evaluation:
        self.asked.append((self.rung, candidate))
        if candidate == self.failing:
            raise TrainingError(f"candidate {candidate.id}: the loss is nan")
        return Evaluation(0.9 + self.rung / 1000, 100, "validation", "fp32", "trained", 0.0)


@pytest.fixture
def records(make_joint: Callable[..., JointSpace], make_space: Callable[..., object]) -> list[Evaluated]:
    joint = make_joint(make_space(tuple(range(4, 34)), (1,)), ("fp32",))
    rng = np.random.default_rng(0)
    found = [joint.candidate({"width": width, "kernel": 1, "precision": "fp32"}) for width in range(4, 34)]
    return [
        Evaluated(number, candidate, {"fake": 1.0 + number}, {"fake": True}, float(rng.uniform(0.2, 0.8)))
        for number, candidate in enumerate(found)
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10), min_size=1, max_size=130))
def test_neighbours_compete(accuracies: list[int]) -> None:
    rows = [
        Evaluated(n, Candidate.__new__(Candidate), {"fake": float(n)}, {"fake": True}, a / 10)
        for n, a in enumerate(accuracies)
    ]
    shuffled = [rows[int(n)] for n in np.random.default_rng(0).permutation(len(rows))]
    chosen = {record.number for record in best_of_neighbours(shuffled)}
    n_groups = -(-len(rows) // GROUP)
    sizes = [len(rows) // n_groups + (group < len(rows) % n_groups) for group in range(n_groups)]
    start = 0
    for size in sizes:
        group = list(range(start, start + size))
        ranked = sorted(group, key=lambda n: (-accuracies[n], n))
        assert {n for n in group if n in chosen} == set(ranked[: -(-size // 3)])
        start += size


def test_slow_and_fast_are_promoted_alike(records: list[Evaluated]) -> None:
    # Accuracy that grows with latency: a ranking of all would take the slowest third.
    growing = [replace(record, accuracy=0.3 + record.number / 100) for record in records]
    numbers = [record.number for record in best_of_neighbours(growing)]
    assert len(numbers) == 12
    assert max(np.diff([0, *numbers, 29])) <= GROUP


def test_each_device_has_its_own(records: list[Evaluated]) -> None:
    both = [replace(r, latency_ms={"a": 1.0 + r.number, "b": 31.0 - r.number % 7}) for r in records]
    alone = [
        {r.number for r in best_of_neighbours([replace(r, latency_ms={d: r.latency_ms[d]}) for r in both])}
        for d in ("a", "b")
    ]
    assert {r.number for r in best_of_neighbours(both)} == alone[0] | alone[1]


def test_two_rungs(records: list[Evaluated], recorder: object, tmp_path: Path) -> None:
    asked: list[tuple[int, Candidate]] = []
    ladder = Ladder(Closer(2, asked), tmp_path, recorder)  # type: ignore[arg-type]
    failed = replace(records[0], number=99, accuracy=None, failure="nan")
    found = ladder.climb([*records, failed], Clock(None))
    assert [record.number for record in found] == [*range(30), 99]
    by_rung = [{c for rung, c in asked if rung == number} for number in (1, 2)]
    assert by_rung[0] == {record.candidate for record in best_of_neighbours(records)}
    assert by_rung[1] < by_rung[0]
    for before, after in zip(records, found, strict=False):
        rung = sum(before.candidate in candidates for candidates in by_rung)
        assert after.accuracy == (0.9 + rung / 1000 if rung else before.accuracy)
    assert found[-1].accuracy is None


@pytest.mark.parametrize("torn", [False, True])
def test_what_was_found_is_not_asked_again(
    records: list[Evaluated], recorder: object, tmp_path: Path, torn: bool
) -> None:
    asked: list[tuple[int, Candidate]] = []
    ladder = Ladder(Closer(1, asked, records[-1].candidate), tmp_path, recorder)  # type: ignore[arg-type]
    first = ladder.climb(records, Clock(None))
    path, n = tmp_path / LADDER, len(asked)
    if torn:
        whole = path.read_bytes()
        path.write_bytes(whole[:-5])
    again = ladder.climb(records, Clock(None))
    assert again == first
    assert len(asked) == n + torn
    assert len(path.read_text().splitlines()) == n


def test_a_failure_keeps_the_first_accuracy(records: list[Evaluated], recorder: object, tmp_path: Path) -> None:
    best = max(records, key=lambda record: record.accuracy or 0.0)
    ladder = Ladder(Closer(1, [], best.candidate), tmp_path, recorder)  # type: ignore[arg-type]
    assert ladder.climb(records, Clock(None))[best.number].accuracy == best.accuracy
    assert "the loss is nan" in recorder.notes[0]  # type: ignore[attr-defined]


def test_without_time_nothing_is_asked(records: list[Evaluated], recorder: object, tmp_path: Path) -> None:
    asked: list[tuple[int, Candidate]] = []
    ladder = Ladder(Closer(1, asked), tmp_path, recorder)  # type: ignore[arg-type]
    assert ladder.climb(records, Clock.starting_now(0.0)) == records
    assert not asked
