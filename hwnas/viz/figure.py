"""The front as a plotly figure, and as the piece of HTML that a notebook shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from hwnas.core.front import Front
from hwnas.devices.resolve import measure_of
from hwnas.viz.table import FrontRow, front_rows
from hwnas.viz.text import latency_words, ms, percent, size

if TYPE_CHECKING:
    from plotly.graph_objects import Figure, Scatter

__all__ = ["front_figure", "front_html"]

COLOUR, FAINT = "#0067a8", 0.4
# What a latency is -> the symbol of its point; as in the report.
SYMBOLS = {"measured": "circle", "predicted": "circle-open", "predicted, out of domain": "x-thin-open"}


def front_figure(front: Front, device: str | None = None) -> Figure:
    """Latency in ms against accuracy in % on one device: a point a model, predictions with their 90 % interval.

    Args:
        front: of a run.
        device: one of the front's; None: the first.
    Raises:
        ConfigError: the search was not for that device.
    """
    from plotly.graph_objects import Figure, Scatter

    device = front.device(device)
    rows = front_rows(front, device)
    kept = [row for row in rows if not row.dominated]
    line = Scatter(
        x=[row.latency_ms for row in kept],
        y=[row.accuracy * 100 for row in kept],
        mode="lines",
        line={"shape": "hv", "color": "#9aa4af", "width": 1},
        hoverinfo="skip",
        showlegend=False,
    )
    groups = {source: [row for row in rows if _source(row) == source] for source in SYMBOLS}
    figure = Figure([line, *(_points(source, group) for source, group in groups.items() if group)])
    figure.update_layout(
        title=escape(f"{front.task} on {device}, space {front.space}"),
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        showlegend=True,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
    )
    figure.update_xaxes(title=escape(measure_of(device)))
    figure.update_yaxes(title="accuracy in %")
    for row in rows:
        if row.knee:
            figure.add_annotation(x=row.latency_ms, y=row.accuracy * 100, text="knee", ax=24, ay=24, arrowcolor="grey")
    return figure


def front_html(front: Front) -> str:
    """A figure and a table for each device, with plotly's JavaScript (5 MB), so that it shows without a network."""
    parts = []
    for number, device in enumerate(front.devices):
        figure = front_figure(front, device)
        parts.append(figure.to_html(full_html=False, include_plotlyjs=number == 0, default_height="420px"))
        parts.append(_table(front, device))
    return "\n".join(parts)


def _source(row: FrontRow) -> str:
    return (
        f"predicted{'' if row.latency.in_domain else ', out of domain'}" if row.latency.measured is None else "measured"
    )


def _points(source: str, rows: Sequence[FrontRow]) -> Scatter:
    from plotly.graph_objects import Scatter

    interval = None
    if source != "measured":
        interval = {
            "type": "data",
            "symmetric": False,
            "array": [row.latency.high - row.latency.predicted for row in rows],
            "arrayminus": [row.latency.predicted - row.latency.low for row in rows],
            "thickness": 1,
        }
    opacity = [FAINT if row.dominated else 1.0 for row in rows]
    return Scatter(
        x=[row.latency_ms for row in rows],
        y=[row.accuracy * 100 for row in rows],
        mode="markers",
        name=source,
        error_x=interval,
        marker={"symbol": SYMBOLS[source], "size": 10, "color": COLOUR, "opacity": opacity, "line": {"width": 2}},
        text=[_words(row) for row in rows],
        hovertemplate="%{text}<extra></extra>",
    )


def _words(row: FrontRow) -> str:
    """A model, as it is shown when it is pointed at; plotly reads it as HTML."""
    lines = (
        f"{row.id}, {row.precision}",
        f"accuracy {percent(row.accuracy)} ({row.split}, n = {row.n})",
        latency_words(row.latency),
        size(row.size_bytes),
        ", ".join(row.remarks),
    )
    return "<br>".join(escape(line) for line in lines if line)


def _table(front: Front, device: str) -> str:
    heads = ("model", "precision", "accuracy", "measured", "predicted", "90 % interval", "size", "")
    rows = "".join(f"<tr>{_cells('td', _row(row))}</tr>" for row in front_rows(front, device))
    caption = escape(f"{device}: {measure_of(device)}")
    return (
        f"<table><caption>{caption}</caption><thead><tr>{_cells('th', heads)}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(row: FrontRow) -> tuple[str, ...]:
    found = row.latency
    return (
        row.id,
        row.precision,
        percent(row.accuracy),
        "no" if found.measured is None else ms(found.measured.value),
        ms(found.predicted),
        f"{ms(found.low)} to {ms(found.high)}",
        size(row.size_bytes),
        ", ".join(row.remarks),
    )


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)
