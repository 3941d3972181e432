from __future__ import annotations

import pytest

from hwnas.core.profile import Profiler, fast_calls
from hwnas.runtimes.onnxruntime import OnnxRuntime


@pytest.mark.parametrize(
    ("totals_ms", "places"),
    [([5.0], [0]), ([3.0, 1.0, 2.0, 9.0], [1]), ([4, 4, 1, 9, 9, 9, 9, 2], [2, 7]), ([1, 1, 1, 1, 1, 1, 1, 1], [0, 1])],
)
def test_the_fastest_quarter(totals_ms: list[float], places: list[int]) -> None:
    assert fast_calls(totals_ms) == places


def test_a_runtime_with_a_profiler_is_told_apart() -> None:
    assert isinstance(OnnxRuntime(), Profiler)
    assert not isinstance(object(), Profiler)
