"""The report: one HTML file that holds everything it shows and works offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.core.front import Front
from hwnas.errors import RunFolderError
from hwnas.store import read_front, write_atomic
from hwnas.viz.chart import ChartData, chart_data, figure_json
from hwnas.viz.page import page, section
from hwnas.viz.table import FrontRow, front_rows

__all__ = ["read_trials", "render_report", "write_report"]


def write_report(run_dir: Path, out: Path | None = None, *, trials: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """Write the report of a run and return its path.

    Args:
        run_dir: a run folder with a `front.json`.
        out: the HTML file; `report.html` in the run folder, if None. Missing folders are made.
        trials: searched candidates, see `chart_data`; those of `trials.jsonl` in the run folder, if None.
    Raises:
        RunFolderError: the run is missing or damaged, or `out` cannot be written.
        SchemaError: another version wrote the front.
    """
    front = read_front(run_dir)
    path = run_dir / "report.html" if out is None else out
    found = read_trials(run_dir) if trials is None else trials
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make {path.parent}: {error.strerror}; choose another --out") from error
    if path.is_dir():
        raise RunFolderError(f"cannot write {path}: it is a folder; name a file, such as {path / 'report.html'}")
    write_atomic(path, render_report(front, run_dir, found).encode())
    return path


def render_report(front: Front, run_dir: Path, trials: Sequence[Mapping[str, Any]] = ()) -> str:
    """The HTML of the report; `run_dir` is only named in commands."""
    from plotly.offline import get_plotlyjs

    charts: list[ChartData] = []
    sections: list[str] = []
    for device in front.devices:
        rows: list[FrontRow] = front_rows(front, device)
        charts.append(chart_data(rows, trials, device))
        sections.append(section(front, device, rows, run_dir, n_searched=len(charts[-1].searched)))
    figures = ",".join(f'{{"light":{figure_json(c, "light")},"dark":{figure_json(c, "dark")}}}' for c in charts)
    return page(front, sections, _script_safe(f"[{figures}]"), get_plotlyjs())


def read_trials(run_dir: Path) -> list[dict[str, Any]]:
    """Objects of `trials.jsonl` in a run folder, one a line; none if there is no such file, broken lines left out."""
    path = run_dir / "trials.jsonl"
    if not path.is_file():
        return []
    trials = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            trial = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was killed while it wrote
        if isinstance(trial, dict):
            trials.append(trial)
    return trials


def _script_safe(text: str) -> str:
    """JSON in which nothing can end or open an HTML element; the same values when read."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
