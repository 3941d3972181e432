from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.devices.resolve import find_device
from hwnas.errors import BuildError, RuntimeExportError
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.search.config import SearchConfig
from hwnas.search.effort import Clock, plan_effort
from hwnas.search.evaluated import Evaluated
from hwnas.search.finish import Finished
from hwnas.search.finishing import Finishing, FinishJob, make_finisher
from hwnas.search.frontier import still_wanted
from hwnas.search.setup import Setup
from hwnas.search.targets import Targets


@dataclass
class MadeUp:
    """A finisher whose models are as accurate as they are told to be; None: it fails."""

    task: Task
    accuracies: dict[Candidate, float | None]
    batch_size: int = 16

    def known(self, candidate: Candidate) -> Finished | None:
        return None

    def finish(self, candidate: Candidate, **_: Any) -> Finished:
        accuracy = self.accuracies[candidate]
        if accuracy is None:
            raise RuntimeExportError("refused")
        of = [Evaluation(accuracy, 10_000, split, "fp32", "deployed-file", 0.0) for split in ("test", "validation")]
        return Finished(candidate, {}, *of)


def one_after_the_other(order: Sequence[Evaluated], wanted: int, finisher: MadeUp) -> list[Candidate]:
    """The rule, with nothing in work when it is applied."""
    finished: list[tuple[Evaluated, Finished]] = []
    for record in order:
        n, kept = len(finished), len(still_wanted(finished))
        if n >= wanted and (kept >= 0.75 * wanted or n >= 1.5 * wanted):
            break
        if finisher.accuracies[record.candidate] is not None:
            finished.append((record, finisher.finish(record.candidate)))
    return [record.candidate for record, _ in finished]


@pytest.fixture
def make(
    make_joint: Any, make_space: Callable[..., SearchSpace], few_digits: Task, recorder: Any, several: Any
) -> Callable[..., tuple[Finishing, list[Evaluated], MadeUp]]:
    def made(
        seed: int, size: int | None, share_failing: float = 0.2, clock: Clock | None = None
    ) -> tuple[Finishing, list[Evaluated], MadeUp]:
        rng, joint = np.random.default_rng(seed), make_joint(make_space(tuple(range(4, 20)), (1, 3)))
        candidates = [c for c in joint.all(limit=1000) or () if c.compression.precision == "fp32"][:24]
        accuracies = {c: None if rng.random() < share_failing else float(rng.random()) for c in candidates}
        order = [
            Evaluated(number, c, {"fake": float(rng.uniform(1, 9))}, {"fake": True}, 0.5)
            for number, c in enumerate(candidates)
        ]
        finisher, clock = MadeUp(few_digits, accuracies), clock or Clock(None)
        effort = plan_effort(SearchConfig(devices=("fake",)), joint, few_digits, clock)
        pool = None if size is None else several(lambda job: job.by(finisher), size, rng)
        return Finishing(finisher, joint, effort, clock, recorder, pool), order, finisher  # type: ignore[arg-type]

    return made


@pytest.mark.parametrize("size", [None, 1, 2, 5, 16])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wanted", [1, 3, 8])
def test_several_at_a_time_finish_the_same_models(wanted: int, seed: int, size: int | None, make: Any) -> None:
    finishing, order, finisher = make(seed, size)
    found = [made.candidate for _, made in finishing.run(order, wanted)]
    expected = one_after_the_other(order, wanted, finisher)
    assert len(found) == len(set(found))
    assert set(found) == set(expected)
    if size in (None, 1):
        assert found == expected


def test_time_that_is_up_ends_finishing_once_a_few_are_made(make: Any, recorder: Any) -> None:
    finishing, order, _ = make(0, 2, share_failing=0.0, clock=Clock(0.0))
    found = finishing.run(order, 8)
    assert 3 <= len(found) <= 4  # one more was in work
    assert recorder.notes == [f"the time is up: {len(found)} of 8 models are finished"]


def test_nothing_can_be_finished(make: Any, recorder: Any) -> None:
    finishing, order, _ = make(0, 3, share_failing=1.0)
    with pytest.raises(RuntimeExportError, match="refused"):
        finishing.run(order, 2)
    assert len(recorder.notes) == len(order)
    assert finishing.run(order, 2, needed=False) == []
    assert finishing.run([], 2) == []


def test_an_error_of_another_kind_ends_finishing(make: Any, several: Any) -> None:
    finishing, order, _ = make(0, 2)

    def fails(job: FinishJob) -> Finished:
        raise BuildError("no such network")

    finishing.pool = several(fails, 2, np.random.default_rng(0))
    with pytest.raises(BuildError):
        finishing.run(order, 2)


@pytest.mark.parametrize(
    ("devices", "precisions", "may_mix"),
    [
        (("cpu",), ("fp32", "int8"), True),
        (("cpu",), ("int8",), False),  # nothing says what its layers cost in fp32
        (("cpu", "raspberry-pi-4"), ("fp32", "int8"), False),  # one of them is not measured
    ],
)
def test_layers_are_kept_in_fp32_where_latency_is_measured(
    devices: tuple[str, ...], precisions: tuple[str, ...], may_mix: bool, few_digits: Task, tmp_path: Path,
    make_space: Callable[..., SearchSpace],
) -> None:  # fmt: skip
    space = make_space((4, 8), (3,))
    parts = [Setup(find_device(name), space, few_digits, precisions, OnnxRuntime()) for name in devices]
    targets = Targets(tuple(parts))
    effort = plan_effort(SearchConfig(devices=devices), targets.joint, few_digits, Clock(None))
    assert make_finisher(None, targets, tmp_path, effort, 0, frozenset()).may_mix is may_mix  # type: ignore[arg-type]
