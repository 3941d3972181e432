from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hwnas.core.front import Front
from hwnas.errors import ConfigError, InfeasibleBudgetError
from hwnas.search.result import SearchResult
from hwnas.testing.front import example_front
from hwnas.viz.figure import front_figure, front_html
from hwnas.viz.table import front_rows

DEVICES = ("cpu", "jetson-nano")  # measured; predicted, the largest model out of domain


@pytest.fixture(scope="module")
def front() -> Front:
    return example_front(DEVICES)


def test_measured_models_stand_where_the_table_has_them(front: Front) -> None:
    line, points = front_figure(front).data
    rows = front_rows(front)
    assert points.name == "measured"
    assert list(points.x) == [row.latency_ms for row in rows]
    assert list(points.y) == pytest.approx([row.accuracy * 100 for row in rows])
    assert points.error_x.array is None
    assert list(line.x) == [row.latency_ms for row in rows if not row.dominated]


def test_predictions_carry_their_interval_and_their_doubt(front: Front) -> None:
    _, inside, outside = front_figure(front, "jetson-nano").data
    assert (inside.name, len(inside.x)) == ("predicted", 7)
    assert (outside.name, len(outside.x)) == ("predicted, out of domain", 1)
    for model, x, low, high in zip(
        front.models, inside.x, inside.error_x.arrayminus, inside.error_x.array, strict=False
    ):
        found = model.latency["jetson-nano"]
        assert (x, x - low, x + high) == pytest.approx((found.predicted, found.low, found.high))
    assert "out of domain" in outside.text[0]
    assert inside.marker.symbol != outside.marker.symbol


def test_the_axes_say_what_and_in_which_unit(front: Front) -> None:
    layout = front_figure(front, "jetson-nano").layout
    assert layout.xaxis.title.text == "latency in ms at batch 1"
    assert layout.yaxis.title.text == "accuracy in %"
    assert layout.title.text == "digits on jetson-nano, space mobilenet"
    assert [note.text for note in layout.annotations] == ["knee"]


def test_a_device_of_another_search_is_refused(front: Front) -> None:
    with pytest.raises(ConfigError, match="not for device 'zcu102'"):
        front_figure(front, "zcu102")


def test_an_empty_front_is_an_empty_figure(front: Front) -> None:
    assert [len(trace.x or ()) for trace in front_figure(replace(front, models=())).data] == [0]


class Found(HTMLParser):
    """Cells of the tables, and whatever the browser would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self._tag == "td":
            self.cells.append(data)


def test_a_notebook_gets_a_picture_and_a_table_of_each_device_offline(front: Front) -> None:
    text = front_html(front)
    found = Found(text)
    assert found.loads == []
    assert text.count("Plotly.newPlot(") >= 2
    assert found.tags.count("table") == 2
    assert all(found.cells.count(model.id) == 2 for model in front.models)
    assert "no" in found.cells  # what was not measured is not 0
    assert len(text) < 6_000_000


def test_what_came_from_outside_is_only_text() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    text = front_html(example_front(("cpu",), task=evil))
    assert evil not in text
    assert "<img" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert Found(text).tags.count("script") == Found(front_html(example_front(("cpu",)))).tags.count("script")
    assert "<" not in front_figure(example_front(("cpu",), task=evil)).layout.title.text


def test_a_result_shows_itself(front: Front, tmp_path: Path) -> None:
    result = SearchResult(tmp_path / "run", front)
    assert repr(result) == f"SearchResult('{tmp_path}/run': digits, 8 models on cpu, jetson-nano)"
    assert result.figure("jetson-nano") == front_figure(front, "jetson-nano")
    assert Found(result._repr_html_()).cells == Found(front_html(front)).cells


def test_a_result_says_which_model_to_take(front: Front, tmp_path: Path) -> None:
    result = SearchResult(tmp_path, front)
    assert result.pick().why.startswith("the knee of the front on cpu")
    chosen = result.pick(max_latency_ms=0.2)
    assert chosen.row.id == front.models[4].id
    assert chosen.why.startswith("the most accurate of 5 within 0.2 ms on cpu")
    assert result.pick(device="jetson-nano", min_accuracy=0.98).device == "jetson-nano"
    read = replace(front, models=tuple(replace(m, energy_mj={"cpu": 1.0 + i}) for i, m in enumerate(front.models)))
    chosen = SearchResult(tmp_path, replace(read, devices=("cpu",))).pick(max_energy_mj=3.5)
    assert chosen.row.energy_mj == 3.0
    with pytest.raises(InfeasibleBudgetError, match="no energy was measured"):
        result.pick(max_energy_mj=3.5)
    with pytest.raises(InfeasibleBudgetError, match=r"the fastest, .* has 0.061 ms"):
        result.pick(max_latency_ms=0.001)
