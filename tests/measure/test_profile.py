from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.profile import TimedOperation
from hwnas.errors import MeasurementError
from hwnas.measure.profile import OperationTime, Profile, profile_file
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import INPUT_SHAPE, samples, spec_of

INPUT = np.zeros((1, 3), np.float32)


class Clock:
    """Plain calls take 2 ms; every fourth one 1 ms."""

    def __init__(self) -> None:
        self._calls = 0
        self._now = 0

    def __call__(self) -> int:
        self._calls += 1
        if self._calls % 2 == 0:  # the end of a call
            self._now += 1_000_000 if self._calls % 8 == 0 else 2_000_000
        return self._now


class Scripted:
    """A runtime whose profiler reads made-up times."""

    name, suffix, precisions = "scripted", ".x", ("fp32",)

    def __init__(self, names: str | tuple[str, ...]) -> None:
        self._names = names

    def version(self) -> str:
        return "1"

    def export(self, model: Any, spec: Any, path: Path) -> Any:
        raise NotImplementedError

    def load(self, path: Path, *, threads: int = 1) -> Any:
        return self

    def run(self, inputs: Any) -> Any:
        return inputs

    def profile(self, path: Path, inputs: Any, *, threads: int, calls: int, warmup: int) -> list[TimedOperation]:
        # Three calls of four are disturbed: the second operation then takes ten times as long.
        slow = tuple(0.5 if call % 4 == 0 else 5.0 for call in range(calls))
        fast = tuple(0.1 if call % 4 == 0 else 0.09 for call in range(calls))
        shared = {"kind": "conv", "operator": "Conv", "output": None}
        samples = zip(self._names, (fast, slow), strict=False)
        return [TimedOperation(name=name, samples_ms=ms, **shared) for name, ms in samples]


class Plain:
    """A runtime without a profiler."""

    name = "plain"


def test_the_parts_are_those_of_the_calls_that_were_fast_as_a_whole() -> None:
    found = profile_file(Scripted("ab"), Path("x"), INPUT, clock_ns=Clock(), seconds=1)
    # The first operation alone was faster in the disturbed calls; it must be that of the undisturbed ones.
    assert [op.ms for op in found.operations] == pytest.approx([0.1, 0.5])
    assert found.sum_ms == pytest.approx(0.6)
    assert found.plain_ms == pytest.approx(1.0)
    assert found.profiler_ms == 0  # 0.6 ms of operations in a call of 1 ms: nothing says that the profiler costs any


def test_the_profilers_own_cost_is_what_the_call_does_not_take() -> None:
    parts = tuple(OperationTime("conv", "Conv", name, None, ms) for name, ms in (("a", 2.0), ("b", 4.0), ("c", 1.0)))
    found = Profile(parts, plain_ms=4.0, calls=1)
    assert found.profiler_ms == 1.0
    assert [found.net_ms(op) for op in parts] == [1.0, 3.0, 0.0]


@pytest.mark.parametrize("plain_ms", [0.1, 1.0, 3.3, 5.0, 7.2])
def test_what_is_left_adds_up_to_the_call(plain_ms: float) -> None:
    times = (2.0, 4.0, 0.01, 0.01, 1.2, 0.0)
    parts = tuple(OperationTime("conv", "Conv", str(place), None, ms) for place, ms in enumerate(times))
    found = Profile(parts, plain_ms=plain_ms, calls=1)
    assert sum(found.net_ms(op) for op in parts) == pytest.approx(plain_ms)


def test_a_profiler_that_names_nothing_is_refused() -> None:
    with pytest.raises(MeasurementError, match="names no operation"):
        profile_file(Scripted(()), Path("x"), INPUT, clock_ns=Clock(), seconds=1)


def test_a_runtime_without_a_profiler_says_so() -> None:
    with pytest.raises(MeasurementError, match="'plain' has no profiler"):
        profile_file(Plain(), Path("x"), INPUT)  # type: ignore[arg-type]


def test_a_real_file_is_timed_operation_by_operation(tmp_path: Path) -> None:
    path, runtime = tmp_path / "m.onnx", OnnxRuntime()
    runtime.export(small_network(input_shape=INPUT_SHAPE), spec_of("int8"), path)
    found = profile_file(runtime, path, samples(1), seconds=0.2)
    assert [op.kind for op in found.operations if "Conv" in op.operator].count("depthwise") == 1
    assert found.sum_ms > 0
    assert found.plain_ms > 0
    assert all("QuantizeLinear" in op.operator for op in found.operations if op.operator.startswith("QLinearConv"))
    assert found.operations[-1].output == (5,)
