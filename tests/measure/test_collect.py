from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.errors import BuildError, MeasurementError
from hwnas.measure.collect import collect
from hwnas.measure.session import MeasurementFailure
from hwnas.testing.networks import small_network

TASK = TaskShape((3, 16, 16), 5)
HERE = Device(name="here", title="this machine", kind="cpu", runtime="onnxruntime", reach="local")


def build(architecture: Architecture, task: TaskLike) -> Any:
    if architecture["width"] == 13:
        raise BuildError("13 channels bring bad luck")
    return small_network(input_shape=task.input_shape, n_outputs=task.n_outputs, width=int(architecture["width"]))


SPACE = SearchSpace("plain", [Choice("width", (8, 13, 64))], build)


def candidate(width: int, precision: str = "fp32") -> Candidate:
    return Candidate(SPACE.architecture({"width": width}), CompressionPlan(precision))


def run(candidates: Sequence[Candidate], device: Device = HERE, **settings: Any) -> list[Any]:
    return collect(SPACE, TASK, device, candidates, threads=1, seconds_per_model=0.2, **settings)


def test_every_candidate_has_its_result() -> None:
    steps: list[tuple[int, int]] = []
    wanted = [candidate(64), candidate(13), candidate(8, "int8"), candidate(8, "bf16"), candidate(8)]
    found = run(wanted, on_progress=lambda done, total: steps.append((done, total)))
    assert [got.candidate for got in found] == wanted
    assert [type(got) for got in found] == [
        Measurement,
        MeasurementFailure,
        Measurement,
        MeasurementFailure,
        Measurement,
    ]
    assert "bad luck" in found[1].reason
    assert "bf16" in found[3].reason
    assert [got.precision for got in found if isinstance(got, Measurement)] == ["fp32", "int8", "fp32"]
    assert all(got.device == "here" and got.input_shape == (3, 16, 16) for got in found if isinstance(got, Measurement))
    assert found[4].percentile_ms(10) < found[0].percentile_ms(10)
    assert steps == sorted(steps)
    assert steps[-1] == (10, 10)


@pytest.mark.parametrize("candidates", [[], [candidate(13)]])
def test_nothing_left_to_measure(candidates: list[Candidate]) -> None:
    steps: list[tuple[int, int]] = []
    found = run(candidates, on_progress=lambda done, total: steps.append((done, total)))
    assert [got.candidate for got in found] == candidates
    assert all(done == total for done, total in steps[-1:])


def test_what_cannot_be_reached_cannot_be_measured() -> None:
    board = Device(name="board", title="a board", kind="cpu", runtime="onnxruntime")
    with pytest.raises(MeasurementError, match=r"'board' cannot be measured from here \(reach: none\)"):
        run([candidate(8)], board)
