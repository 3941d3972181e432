"""The report's HTML: tables and text around the chart; whatever came from outside is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import shlex
from collections.abc import Sequence
from pathlib import Path

from hwnas.core.front import Front, LatencyEntry
from hwnas.devices.resolve import measure_of
from hwnas.viz.table import FrontRow, pick
from hwnas.viz.text import count, ms, percent, size

__all__ = ["export_command", "front_table", "page", "section"]

CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --ground: #ffffff; --panel: #f5f6f8;
  --edge: #d5d9df; --accent: #0072B2; --warn: #a63d00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a5adb8; --ground: #14171c; --panel: #1c2128;
  --edge: #3a4048; --accent: #56B4E9; --warn: #E69F00; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(.75rem, 3vw, 3rem) 3rem; max-width: 1800px; color: var(--ink);
  background: var(--ground); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: clamp(1.3rem, 1rem + 1.5vw, 2rem); line-height: 1.2; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 1.5rem 0 .25rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 75ch; } .soft { color: var(--soft); } .warn { color: var(--warn); font-weight: 600; }
.switch { display: flex; flex-wrap: wrap; gap: .5rem; margin: .75rem 0; }
button { font: inherit; padding: .45rem .9rem; border: 1px solid var(--edge); border-radius: .4rem; cursor: pointer;
  color: var(--ink); background: var(--panel); }
button[aria-pressed=true] { border-color: var(--accent); box-shadow: inset 0 -3px 0 var(--accent); font-weight: 600; }
button:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.chart { width: 100%; min-height: 520px; margin-top: .5rem; }
.scroll { overflow-x: auto; border: 1px solid var(--edge); border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .6rem .75rem; color: var(--soft); }
th, td { padding: .5rem .75rem; text-align: right; vertical-align: top; border-top: 1px solid var(--edge);
  white-space: nowrap; }
th:first-child, td.left, th.left { text-align: left; } thead th { background: var(--panel); }
tbody tr:nth-child(even) { background: color-mix(in srgb, var(--panel) 55%, transparent); }
tr.knee th { box-shadow: inset 4px 0 0 var(--accent); }
code { font: .88em ui-monospace, monospace; } .wrap { white-space: normal; overflow-wrap: anywhere; min-width: 20ch; }
td small, th small { display: block; color: var(--soft); font-weight: 400; }
td small.warn, th small.warn { color: var(--warn); font-weight: 600; }
footer { margin-top: 2rem; color: var(--soft); font-size: .9rem; }
"""

SCRIPT = """
"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = {responsive: true, displaylogo: false,
  modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]};
const sections = [...document.querySelectorAll("section[data-chart]")];
const buttons = [...document.querySelectorAll("button[data-show]")];
function draw() {
  sections.forEach((section, i) => {
    if (section.hidden) return;
    const figure = figures[i][dark.matches ? "dark" : "light"];
    Plotly.react(section.querySelector(".chart"), figure.data, figure.layout, config);
  });
}
function show(index) {
  sections.forEach((section, i) => { section.hidden = i !== index; });
  buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === index)));
  draw();
}
buttons.forEach((button, i) => button.addEventListener("click", () => show(i)));
dark.addEventListener("change", draw);
if (sections.length > 1) show(0); else draw();
"""

HEADINGS = (
    *("model", "accuracy", "predicted ms", "measured ms", "MACs", "parameters", "size"),
    *("file", "export with"),
)


def _e(text: object) -> str:
    return html.escape(str(text))


def export_command(run_dir: Path, model_id: str, formats: Sequence[str]) -> str:
    """The shell command that exports a model of the run."""
    chosen = ",".join(formats) or "onnx"
    return shlex.join(
        ["hwnas", "export", str(run_dir), "--model", model_id, "--format", chosen, "--to", f"deploy/{model_id}"]
    )


def front_table(rows: Sequence[FrontRow], device: str, run_dir: Path) -> str:
    """The front as an HTML table with a caption and headings for rows and columns."""
    left = {"model", "file", "export with"}
    head = "".join(f'<th scope="col"{" class=left" if name in left else ""}>{name}</th>' for name in HEADINGS)
    body = "".join(_row(row, run_dir) for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Models on {_e(device)}"><table>'
        f"<caption>Models on {_e(device)}, fastest first: {_e(measure_of(device))}.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: FrontRow, run_dir: Path) -> str:
    warn = {"out of domain", "unstable"}
    remarks = "".join(f"<small{' class=warn' if r in warn else ''}>{_e(r)}</small>" for r in row.remarks)
    files = "".join(
        f"<code>{_e(artifact.path)}</code><small>{_e(format_)}, sha256 <code>{_e(artifact.sha256[:12])}</code></small>"
        for format_, artifact in row.artifacts.items()
    )
    command = export_command(run_dir, row.id, list(row.artifacts))
    return (
        f"<tr{' class=knee' if row.knee else ''}>"
        f'<th scope="row"><code>{_e(row.id)}</code><small>{_e(row.precision)}</small>{remarks}</th>'
        f"<td>{percent(row.accuracy)}<small>{_e(row.split)}, n = {row.n}</small>"
        f"<small>{_e(row.accuracy_source)}</small></td>"
        f"{_latency_cells(row.latency)}"
        f"<td>{count(row.macs)}</td><td>{count(row.params)}</td><td>{size(row.size_bytes)}</td>"
        f'<td class="left">{files or "no file"}</td><td class="left wrap"><code>{_e(command)}</code></td></tr>'
    )


def _latency_cells(entry: LatencyEntry) -> str:
    predicted = f"<td>{ms(entry.predicted)}<small>{ms(entry.low)} to {ms(entry.high)}</small></td>"
    if entry.measured is None or entry.gap is None:
        return f"{predicted}<td>not measured</td>"
    seen = entry.measured
    details = f"<small>{_e(seen.statistic)}; p95 {ms(seen.p95)}</small><small>{entry.gap:+.1%} of predicted</small>"
    return f"{predicted}<td>{ms(seen.value)}{details}</td>"


def section(front: Front, device: str, rows: Sequence[FrontRow], run_dir: Path, *, n_searched: int) -> str:
    """One device: what was found, the chart, how to read it, the table."""
    out = sum(not row.latency.in_domain for row in rows)
    warning = (
        f'<p class="warn">{out} of {len(rows)} predictions are out of domain: the predictor was not fitted on such '
        "operations, so the true latency may lie outside the interval.</p>"
        if out
        else ""
    )
    faint = f" Faint dots: searched candidates ({n_searched}), accuracy by the supernet." if n_searched else ""
    return (
        f"<section data-chart><h2>{_e(device)}</h2>{_findings(front, device, rows)}{warning}"
        f'<div class="chart" role="img" aria-label="Latency against accuracy on {_e(device)}; the table below holds '
        'the same numbers"></div><noscript><p>The chart needs JavaScript; the table holds the same numbers.</p>'
        '</noscript><p class="soft">Up and to the left is better. Solid points: the file was run on the device. '
        "Hollow points: predicted, with a 90 % interval. Crosses: predicted out of domain. Line: the front of the "
        f"models, by the measured latency where there is one.{faint}</p>"
        f"{front_table(rows, device, run_dir)}</section>"
    )


def _findings(front: Front, device: str, rows: Sequence[FrontRow]) -> str:
    if not rows:
        return "<p>No models.</p>"
    chosen = pick(front, device=device)
    gaps = sorted(abs(row.latency.gap) for row in rows if row.latency.gap is not None)
    measured = f"{len(gaps)} of {len(rows)} models were measured on the device"
    if gaps:
        measured += f"; prediction and measurement differ by {percent(gaps[len(gaps) // 2], 1)} (median)"
    latency_ms, error = front.reference_point[device]
    return (
        f"<p>Take <code>{_e(chosen.row.id)}</code>: {_e(chosen.why)}.</p><p>{measured}.</p>"
        f'<p class="soft">Hypervolume {front.hypervolume[device]:.4g} from the reference point '
        f"{ms(latency_ms)} ms, error {percent(error, 1)}.</p>"
    )


def page(front: Front, sections: Sequence[str], figures: str, plotly_js: str) -> str:
    """The whole document. `figures` is JSON that cannot end its script element; scripts are allowed by their hash."""
    title = f"hwnas: {front.task} on {', '.join(front.devices)}"
    allowed = " ".join(f"'sha256-{_digest(script)}'" for script in (plotly_js, SCRIPT))
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    buttons = "".join(f'<button type="button" data-show aria-pressed="false">{_e(d)}</button>' for d in front.devices)
    switch = f'<div class="switch" role="group" aria-label="Device">{buttons}</div>' if len(front.devices) > 1 else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_e(title)}</title><style>{CSS}</style></head>\n<body><header><h1>{_e(title)}</h1>"
        f"<p>{len(front.models)} models of space {_e(front.space)}, seed {front.seed}.</p></header>"
        f"{switch}<main>{''.join(sections)}</main>"
        "<footer>Made by hwnas. This page loads nothing from the network.</footer>\n"
        f'<script type="application/json" id="figures">{figures}</script>\n'
        f"<script>{plotly_js}</script>\n<script>{SCRIPT}</script></body></html>\n"
    )


def _digest(script: str) -> str:
    # What a browser hashes: the element's text with line ends as HTML reads them.
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
