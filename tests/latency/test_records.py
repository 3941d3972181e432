from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_up import conv

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.ops import OpList
from hwnas.errors import MeasurementError
from hwnas.latency.records import prepare


def measured(width: int, *ms: float, **changes: Any) -> Measurement:
    candidate = Candidate(Architecture.of("mine", {"width": width}))
    values: dict[str, Any] = {
        "candidate": candidate, "device": "board", "runtime": "engine", "runtime_version": "1", "stable": True,
        "samples_ms": (ms,), "time": "2026-01-01T00:00:00", "threads": 1, "input_shape": (3, 8, 8),
    }  # fmt: skip
    return Measurement(**(values | changes))


GOOD = [measured(8, 1.0, 1.1), measured(16, 2.0, 2.1), measured(32, 4.0, 4.2)]
NETWORKS = [OpList.of([conv(width, 8)]) for width in (8, 16, 32)]


def test_the_statistic_is_p10_of_pooled_samples() -> None:
    samples = prepare([measured(8, *range(1, 102))], device="board", precision=None)
    assert samples.latency_ms.tolist() == [pytest.approx(11.0)]
    assert samples.statistic == "p10"
    assert samples.spaces == ("mine",)
    assert samples.input_shapes == ((3, 8, 8),)


def test_one_value_a_network_is_said_to_be_so() -> None:
    assert "one value" in prepare([measured(8, 3.0)], device="board", precision=None).statistic


def test_repeats_are_averaged_and_unstable_ones_left_out() -> None:
    samples = prepare(
        [*GOOD, measured(8, 1.21), measured(64, 99.0, stable=False), measured(64, 8.0, stable=None)],
        device="board",
        precision=None,
    )
    assert len(samples.candidates) == 4
    assert samples.latency_ms[0] == pytest.approx(np.sqrt(1.01 * 1.21))
    assert samples.latency_ms[-1] == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: replace(m, runtime="other"), ("mix runtime", "engine, other")),
        (lambda m: replace(m, runtime_version="2"), ("mix runtime_version", "1, 2")),
        (lambda m: replace(m, precision="int8"), ("mix precision", "fp32, int8")),
        (lambda m: replace(m, threads=2), ("mix threads",)),
        (lambda m: replace(m, batch=8), ("mix batch",)),
        (lambda m: replace(m, power_mode="5W"), ("mix power_mode", "5W, None")),
        (lambda m: replace(m, device="phone"), ("phone", "board", "--device phone")),
        (lambda m: replace(m, candidate=GOOD[0].candidate), ("2 times", "1.01 to 2.01 ms")),
    ],
)
def test_mixed_conditions_are_named(change: Callable[[Measurement], Measurement], words: tuple[str, ...]) -> None:
    with pytest.raises(MeasurementError) as caught:
        prepare([GOOD[0], change(GOOD[1])], device="board", precision=None)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("given", "precision", "words"),
    [
        ([], None, "no stable measurements"),
        (GOOD, "int8", "no int8 measurements"),
        ([measured(8, 1.0, stable=False)], None, "1 measurements, none of them stable"),
    ],
)
def test_nothing_to_calibrate_with(given: list[Measurement], precision: str | None, words: str) -> None:
    with pytest.raises(MeasurementError, match=words):
        prepare(given, device="board", precision=precision)


@pytest.mark.parametrize(
    ("latency", "words"),
    [([2.0, 2.0, 2.0], "all 3 latencies are 2 ms"), ([1.0, 2.0, 4000.0], "mix units")],
)
def test_latencies_that_cannot_be_true(latency: list[float], words: str) -> None:
    given = [measured(width, ms) for width, ms in zip((8, 16, 32), latency, strict=True)]
    with pytest.raises(MeasurementError, match=words):
        prepare(given, device="board", precision=None).check_against(NETWORKS)


@pytest.mark.parametrize("ms", [float("nan"), -1.0, 0.0, float("inf")])
def test_a_measurement_cannot_hold_impossible_samples(ms: float) -> None:
    with pytest.raises(MeasurementError, match="finite and > 0"):
        measured(8, ms)
