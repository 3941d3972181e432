from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.core.front import Front, FrontModel
from hwnas.core.gain import best_within, gains
from hwnas.testing.front import example_front


def with_original() -> tuple[Front, FrontModel]:
    """A front whose slowest model is the original."""
    front = example_front()
    return front, front.models[-1]


def test_each_model_is_compared_with_the_original() -> None:
    front, original = with_original()
    found = gains(front, original, "cpu")
    assert [gain.id for gain in found] == [model.id for model in front.models[:-1]]
    for gain, model in zip(found, front.models, strict=False):
        before, after = original.latency["cpu"], model.latency["cpu"]
        assert before.measured is not None
        assert after.measured is not None
        assert gain.faster_measured == pytest.approx(before.measured.value / after.measured.value)
        assert gain.faster_predicted == pytest.approx(before.predicted / after.predicted)
        assert gain.points_lost == pytest.approx(100 * (original.accuracy - model.accuracy))
        assert gain.smaller == pytest.approx(original.params / model.params)
        assert gain.faster == gain.faster_measured


def test_where_one_of_the_two_was_not_measured_it_is_not_known() -> None:
    front, original = with_original()
    assert all(gain.faster_measured is None for gain in gains(front, original, "jetson-nano"))
    unmeasured = replace(original.latency["cpu"], measured=None)
    other = replace(original, latency={**original.latency, "cpu": unmeasured})
    for gain in gains(front, other, "cpu"):
        assert gain.faster_measured is None
        assert gain.faster == gain.faster_predicted


def test_the_fastest_that_loses_little() -> None:
    front, original = with_original()
    found = gains(front, original, "cpu")
    fastest = max(found, key=lambda gain: gain.faster)
    assert best_within(found, 100.0) == fastest
    assert best_within(found, fastest.points_lost - 0.1) != fastest
    assert best_within([], 1.0) is None
    assert best_within([fastest], fastest.points_lost - 0.1) is None
