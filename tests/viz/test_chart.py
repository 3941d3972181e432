from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from hwnas.testing.front import example_front
from hwnas.viz.chart import chart_data, figure_json
from hwnas.viz.table import front_rows

TRIALS: list[dict[str, Any]] = [
    {"id": "a", "latency_ms": 0.2, "accuracy": 0.9, "in_domain": True},
    {"id": "b", "latency_ms": {"cpu": 0.3, "jetson-nano": 2.0}, "accuracy": 0.8, "in_domain": False},
]


def test_measured_and_predicted_stand_apart() -> None:
    rows = front_rows(example_front())
    data = chart_data(rows)
    assert [p.latency_ms for p in data.measured] == [row.latency.measured.value for row in rows if row.latency.measured]
    assert [p.latency_ms for p in data.predicted] == [row.latency.predicted for row in rows]
    assert [(p.low_ms, p.high_ms) for p in data.predicted] == [(row.latency.low, row.latency.high) for row in rows]
    assert data.out_of_domain == ()


def test_out_of_domain_has_its_own_group_and_says_so() -> None:
    data = chart_data(front_rows(example_front(), "jetson-nano"))
    assert len(data.out_of_domain) == 1
    assert len(data.predicted) == 7
    assert data.measured == ()
    assert "out of domain" in data.out_of_domain[0].text


def test_the_line_holds_the_non_dominated_models_only() -> None:
    front = example_front()
    worse = replace(front.models[6], accuracy_detail=replace(front.models[6].accuracy_detail, accuracy=0.5))
    rows = front_rows(replace(front, models=(*front.models[:6], worse, front.models[7])))
    line = chart_data(rows).line
    assert len(line) == 7
    assert list(line) == sorted(line)
    assert [y for _, y in line] == sorted(y for _, y in line)


def test_searched_candidates_of_the_device() -> None:
    rows = front_rows(example_front())
    assert [p.latency_ms for p in chart_data(rows, TRIALS, "cpu").searched] == [0.2, 0.3]
    assert "out of domain" in chart_data(rows, TRIALS, "cpu").searched[1].text
    assert [p.latency_ms for p in chart_data(rows, TRIALS, "jetson-nano").searched] == [0.2, 2.0]


@pytest.mark.parametrize(
    "trial",
    [
        {},
        {"latency_ms": None, "accuracy": 0.9},
        {"latency_ms": math.nan, "accuracy": 0.9},
        {"latency_ms": 0, "accuracy": 0.9},
        {"latency_ms": 1.0, "accuracy": math.nan},
        {"latency_ms": "1", "accuracy": 0.5},
        {"latency_ms": {"tpu": 1.0}, "accuracy": 0.5},
    ],
)
def test_trials_without_numbers_are_left_out(trial: dict[str, Any]) -> None:
    assert chart_data(front_rows(example_front()), [trial], "cpu").searched == ()


def test_a_wide_span_gets_a_logarithmic_axis() -> None:
    rows = front_rows(example_front())
    assert not chart_data(rows).log
    assert chart_data(rows, [{"id": "slow", "latency_ms": 50.0, "accuracy": 0.9}], "cpu").log


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_is_the_data(theme: str) -> None:
    data = chart_data(front_rows(example_front()), TRIALS, "cpu")
    figure = json.loads(figure_json(data, theme))
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert set(traces) == {"searched (supernet)", "front", "predicted, 90 % interval", "measured"}
    predicted = traces["predicted, 90 % interval"]
    assert predicted["x"] == [p.latency_ms for p in data.predicted]
    ends = [x + up for x, up in zip(predicted["x"], predicted["error_x"]["array"], strict=True)]
    assert ends == pytest.approx([p.high_ms for p in data.predicted])
    assert traces["measured"]["marker"]["symbol"] == "circle"
    assert predicted["marker"]["symbol"] == "circle-open"
    assert traces["front"]["line"]["shape"] == "hv"


def test_hover_texts_are_escaped() -> None:
    front = example_front()
    hostile = replace(front.models[0], id='<a href="http://evil">x</a>&')
    rows = front_rows(replace(front, models=(hostile, *front.models[1:])))
    data = chart_data(rows, [{"id": "<b>t</b>", "latency_ms": 0.2, "accuracy": 0.9}], "cpu")
    for point in (*data.measured, *data.predicted, *data.searched):
        assert "<a" not in point.text
        assert "<b>t" not in point.text
    assert "&lt;a href" in data.measured[0].text


def test_an_empty_front_draws_nothing() -> None:
    assert json.loads(figure_json(chart_data([]), "light"))["data"] == []
