"""Latency against accuracy: first the points, then the drawing (the only file that imports plotly)."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.devices.resolve import measure_of
from hwnas.viz.table import FrontRow
from hwnas.viz.text import count, latency_words, ms, percent, size

__all__ = ["ChartData", "Point", "chart_data", "figure_json"]

# Okabe and Ito's colours, told apart with any kind of colour blindness; chosen for contrast on each ground.
COLOURS = {
    "light": {"measured": "#0072B2", "predicted": "#0072B2", "out": "#D55E00", "line": "#009E73", "faint": "#8a8f98"},
    "dark": {"measured": "#56B4E9", "predicted": "#56B4E9", "out": "#E69F00", "line": "#009E73", "faint": "#7d838d"},
}
INK = {"light": ("#1b1f24", "#dde1e6", "#ffffff"), "dark": ("#e6e8eb", "#3a4048", "#20252c")}


@dataclass(frozen=True, slots=True)
class Point:
    """One marker: latency in ms, accuracy 0-1, the text shown on hover (markup escaped), and the interval if any."""

    latency_ms: float
    accuracy: float
    text: str
    low_ms: float | None = None
    high_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ChartData:
    """Everything that one device's chart shows.

    Attributes:
        measured: models whose file was run on the device.
        predicted: predictions in domain, of every model, with their interval.
        out_of_domain: the same for predictions out of domain.
        searched: candidates of the search; their accuracy is the supernet's.
        line: (latency in ms, accuracy) of the non-dominated models, fastest first.
        log: whether latencies span so much that a logarithmic axis reads better.
        measure: what the milliseconds are, in words.
    """

    measured: tuple[Point, ...]
    predicted: tuple[Point, ...]
    out_of_domain: tuple[Point, ...]
    searched: tuple[Point, ...]
    line: tuple[tuple[float, float], ...]
    log: bool
    measure: str


def chart_data(rows: Sequence[FrontRow], trials: Iterable[Mapping[str, Any]] = (), device: str = "") -> ChartData:
    """Sort the rows of one device into the groups that a chart tells apart.

    Args:
        rows: of `front_rows`, fastest first.
        trials: searched candidates, mappings with `latency_ms` (a number, or device -> number), `accuracy`,
            `in_domain` (of one device, or device -> so) and `id`; those without finite numbers are left out.
        device: whose values are taken from such mappings.
    """
    searched = tuple(point for trial in trials if (point := _searched(trial, device)))
    shown = [p.latency_ms for p in searched] + [row.latency_ms for row in rows]
    return ChartData(
        measured=tuple(
            Point(row.latency.measured.value, row.accuracy, _hover(row)) for row in rows if row.latency.measured
        ),
        predicted=tuple(_predicted(row) for row in rows if row.latency.in_domain),
        out_of_domain=tuple(_predicted(row) for row in rows if not row.latency.in_domain),
        searched=searched,
        line=tuple((row.latency_ms, row.accuracy) for row in rows if not row.dominated),
        log=bool(shown) and max(shown) > 30 * min(shown),
        measure=measure_of(device),
    )


def _escape(text: object) -> str:
    # Plotly reads a subset of HTML in hover texts, and knows no named entity for quotes.
    return html.escape(str(text), quote=False)


def _predicted(row: FrontRow) -> Point:
    entry = row.latency
    return Point(entry.predicted, row.accuracy, _hover(row), entry.low, entry.high)


def _hover(row: FrontRow) -> str:
    remarks = f" ({', '.join(row.remarks)})" if row.remarks else ""
    return "<br>".join(
        (
            f"<b>{_escape(row.id)}</b>{_escape(remarks)}",
            f"accuracy {percent(row.accuracy)} ({_escape(row.split)}, n = {row.n}, {_escape(row.accuracy_source)})",
            f"latency {_escape(latency_words(row.latency))}",
            f"{_escape(row.precision)}, {count(row.macs)} MACs, {count(row.params)} parameters, {size(row.size_bytes)}",
        )
    )


def _searched(trial: Mapping[str, Any], device: str) -> Point | None:
    latency, accuracy = trial.get("latency_ms"), trial.get("accuracy")
    if isinstance(latency, Mapping):
        latency = latency.get(device)
    if not isinstance(latency, int | float) or not isinstance(accuracy, int | float):
        return None
    if not (math.isfinite(latency) and latency > 0 and math.isfinite(accuracy)):
        return None
    inside = trial.get("in_domain", True)
    inside = inside.get(device, True) if isinstance(inside, Mapping) else inside
    domain = "" if inside else ", out of domain"
    text = (
        f"searched: {_escape(trial.get('id', '?'))}<br>accuracy {percent(accuracy)} (supernet, validation)"
        f"<br>{ms(latency)} ms predicted{domain}"
    )
    return Point(float(latency), float(accuracy), text)


def figure_json(data: ChartData, theme: str) -> str:
    """The chart as plotly JSON, for a "light" or a "dark" ground; no arithmetic in here."""
    import plotly.graph_objects as go

    colours, figure = COLOURS[theme], go.Figure()
    faint = {"color": colours["faint"], "size": 5, "opacity": 0.45}
    _add(figure, data.searched, "searched (supernet)", faint)
    if data.line:
        figure.add_scatter(
            x=[x for x, _ in data.line],
            y=[y for _, y in data.line],
            mode="lines",
            line={"color": colours["line"], "width": 2, "shape": "hv"},
            hoverinfo="skip",
            name="front",
        )
    hollow = {"color": colours["predicted"], "size": 11, "symbol": "circle-open", "line": {"width": 2}}
    _add(figure, data.predicted, "predicted, 90 % interval", hollow)
    cross = {"color": colours["out"], "size": 12, "symbol": "x-open", "line": {"width": 2}}
    _add(figure, data.out_of_domain, "predicted, out of domain", cross)
    _add(figure, data.measured, "measured", {"color": colours["measured"], "size": 9, "symbol": "circle"})
    figure.update_layout(_layout(data, theme))
    text: str = figure.to_json()
    return text


def _add(figure: Any, points: Sequence[Point], name: str, marker: Mapping[str, Any]) -> None:
    if not points:
        return
    whiskers = None
    if points[0].low_ms is not None:
        whiskers = {
            "type": "data",
            "symmetric": False,
            "array": [(p.high_ms or p.latency_ms) - p.latency_ms for p in points],
            "arrayminus": [p.latency_ms - (p.low_ms or p.latency_ms) for p in points],
            "thickness": 1.2,
            "width": 4,
        }
    figure.add_scatter(
        x=[p.latency_ms for p in points],
        y=[p.accuracy for p in points],
        mode="markers",
        marker=marker,
        error_x=whiskers,
        hovertext=[p.text for p in points],
        hoverinfo="text",
        name=name,
    )


def _layout(data: ChartData, theme: str) -> dict[str, Any]:
    ink, grid, ground = INK[theme]
    axis = {"gridcolor": grid, "linecolor": grid, "zeroline": False, "ticks": "outside"}
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": ink, "family": "system-ui, sans-serif", "size": 14},
        "margin": {"l": 76, "r": 12, "t": 44, "b": 56},
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": COLOURS[theme]["faint"],
            "activecolor": ink,
            "orientation": "v",
        },
        "height": 520,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": ground, "bordercolor": grid, "font": {"color": ink}, "align": "left"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": {
            **axis,
            "title": {"text": data.measure, "standoff": 8},
            "type": "log" if data.log else "linear",
        },
        "yaxis": {**axis, "title": {"text": "accuracy", "standoff": 10}, "tickformat": ".1%"},
    }
