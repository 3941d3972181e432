from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from hwnas.core.front import Front
from hwnas.errors import ConfigError, InfeasibleBudgetError
from hwnas.testing.front import example_front
from hwnas.viz.table import Limits, front_rows, pick


def with_models(front: Front, *indices: int) -> Front:
    return replace(front, models=tuple(front.models[i] for i in indices))


def test_rows_are_fastest_first_and_one_is_the_knee() -> None:
    rows = front_rows(example_front())
    assert [row.latency_ms for row in rows] == sorted(row.latency_ms for row in rows)
    assert sum(row.knee for row in rows) == 1
    assert not rows[0].knee
    assert not rows[-1].knee
    assert not any(row.dominated for row in rows)


def test_the_knee_is_the_row_farthest_below_the_chord() -> None:
    rows = front_rows(example_front())
    low, high = rows[0], rows[-1]

    def depth(i: int) -> float:
        x = (rows[i].latency_ms - low.latency_ms) / (high.latency_ms - low.latency_ms)
        y = (rows[i].accuracy - low.accuracy) / (high.accuracy - low.accuracy)
        return y - x

    assert rows[max(range(len(rows)), key=depth)].knee


def test_a_dominated_model_is_marked_and_never_the_knee() -> None:
    front = example_front()
    worse = replace(front.models[6], accuracy_detail=replace(front.models[6].accuracy_detail, accuracy=0.5))
    rows = front_rows(replace(front, models=(*front.models[:6], worse, front.models[7])))
    assert [row.id for row in rows if row.dominated] == [worse.id]
    assert "dominated" in next(row for row in rows if row.dominated).remarks


def test_remarks_say_what_a_reader_must_know() -> None:
    front = example_front()
    assert "unstable" in front_rows(front)[1].remarks
    assert "out of domain" in front_rows(front, "jetson-nano")[-1].remarks
    assert front_rows(front, "jetson-nano")[1].remarks == ("on both fronts",)
    assert front_rows(example_front(("cpu",)))[0].remarks == ()


def test_rows_as_json_say_where_the_latency_comes_from() -> None:
    front = example_front()
    first = json.loads(json.dumps(front_rows(front)[0].to_json(), allow_nan=False))
    assert first["latency_source"] == "measured"
    assert first["latency_ms"] == first["measured"]["value"]
    assert front_rows(front, "jetson-nano")[0].to_json()["latency_source"] == "predicted"


def test_an_empty_front_has_no_rows() -> None:
    assert front_rows(with_models(example_front())) == []


def test_pick_without_a_limit_takes_the_knee() -> None:
    chosen = pick(example_front())
    assert chosen.row.knee
    rows = front_rows(example_front())
    gain = (chosen.row.accuracy - rows[0].accuracy) * 100
    rest = (rows[-1].accuracy - chosen.row.accuracy) * 100
    assert "the knee of the front on cpu" in chosen.why
    assert f"gains {gain:.2f} points" in chosen.why
    assert chosen.why.endswith(f"up to the most accurate, {rest:.2f}")


def test_pick_without_a_knee_takes_the_most_accurate() -> None:
    assert pick(with_models(example_front(), 0, 5)).row.accuracy == example_front().models[5].accuracy


@pytest.mark.parametrize("limit", [0.061, 0.1, 0.2, 0.5219, 9.0])
def test_pick_takes_the_most_accurate_within_the_limit(limit: float) -> None:
    front = example_front()
    within = [model for model in front.models if model.latency_ms <= limit]
    chosen = pick(front, limits=Limits(max_latency_ms=limit))
    assert chosen.row.id == max(within, key=lambda model: model.accuracy).id
    assert "measured" in chosen.why


def test_pick_warns_where_the_limit_lies_in_the_interval() -> None:
    front = example_front()
    entry = front.models[3].latency["jetson-nano"]

    def at(limit: float) -> str:
        return pick(front, device="jetson-nano", limits=Limits(max_latency_ms=limit)).why

    assert "measure before" in at(entry.predicted * 1.01)
    assert "measure before" not in at(entry.high * 1.01)


def test_pick_says_what_is_fastest_when_nothing_fits() -> None:
    front = example_front()
    with pytest.raises(InfeasibleBudgetError, match=front.models[0].id):
        pick(front, limits=Limits(max_latency_ms=0.01))


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_a_limit_is_a_positive_number(limit: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        Limits(max_latency_ms=limit)


def test_pick_from_nothing() -> None:
    with pytest.raises(ConfigError, match="no models"):
        pick(with_models(example_front()))


@pytest.mark.parametrize(
    ("limits", "index", "words"),
    [
        ({"max_size_mb": 0.1}, 3, "the most accurate of 3 within 0.1 MB"),
        ({"min_accuracy": 0.95}, 3, "the fastest of 5 with an accuracy of at least 95 %"),
        ({"min_accuracy": 0.9, "max_latency_ms": 0.2}, 4, "the most accurate of 4 within 0.2 ms with an accuracy"),
        ({"min_accuracy": 0.9, "max_size_mb": 0.1}, 1, "the fastest of 2 within 0.1 MB"),
    ],
)
def test_pick_within_limits_of_every_kind(limits: dict[str, float], index: int, words: str) -> None:
    chosen = pick(example_front(), limits=Limits(**limits))
    assert chosen.row.id == example_front().models[index].id
    assert chosen.why.startswith(words)


def test_a_size_that_is_not_known_keeps_no_limit() -> None:
    front = example_front()
    unknown = replace(front, models=tuple(replace(model, size_bytes=None) for model in front.models))
    with pytest.raises(InfeasibleBudgetError, match="no size is known"):
        pick(unknown, limits=Limits(max_size_mb=100.0))


def test_an_energy_that_was_not_measured_keeps_no_limit() -> None:
    front = example_front(("cpu",))
    (device,) = front.devices
    limits = Limits(max_energy_mj=2.0)
    assert limits.words == "within 2 mJ"
    with pytest.raises(InfeasibleBudgetError, match=r"no energy was measured; search again with --max-energy 2"):
        pick(front, limits=limits)
    read = [replace(model, energy_mj={device: 1.0 + at}) for at, model in enumerate(front.models)]
    chosen = pick(replace(front, models=tuple(read)), limits=limits)
    assert chosen.row.energy_mj is not None and chosen.row.energy_mj <= 2.0
    assert chosen.why.startswith("the most accurate of 2 within 2 mJ")
    with pytest.raises(InfeasibleBudgetError, match=r"the thriftiest, .*, has 1 mJ measured"):
        pick(replace(front, models=tuple(read)), limits=Limits(max_energy_mj=0.5))


@pytest.mark.parametrize(
    ("limits", "message"),
    [({"max_size_mb": 0.0}, "MB above 0"), ({"min_accuracy": 97.0}, "0 to 1"), ({"min_accuracy": math.nan}, "0 to 1")],
)
def test_a_limit_that_is_none_is_refused(limits: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Limits(**limits)


def test_one_model_that_nothing_dominates_is_no_knee() -> None:
    front = example_front()
    worse = replace(front.models[1], accuracy_detail=replace(front.models[1].accuracy_detail, accuracy=0.5))
    assert pick(replace(front, models=(front.models[0], worse))).why.endswith("no other is faster")
