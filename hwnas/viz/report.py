"""The report: one HTML file that holds everything it shows and works offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.core.front import Front
from hwnas.errors import RunFolderError
from hwnas.store import read_front, write_atomic

__all__ = ["TRIALS", "read_trials", "render", "render_report", "save_report", "write_report"]

TRIALS = "trials.jsonl"


def write_report(run_dir: Path, out: Path | None = None, *, trials: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """Write the report of a finished run and return its path.

    Args:
        run_dir: a run folder with a `front.json`.
        out: the HTML file; `report.html` in the run folder, if None. Missing folders are made.
        trials: searched candidates; those of `trials.jsonl` in the run folder, if None.
    Raises:
        RunFolderError: the run is missing or damaged, or `out` cannot be written.
        SchemaError: another version wrote the front.
    """
    from hwnas.viz.data import page_data

    front = read_front(run_dir)
    return save_report(page_data(front, run_dir, read_trials(run_dir) if trials is None else trials), run_dir, out)


def save_report(data: Mapping[str, Any], run_dir: Path, out: Path | None = None) -> Path:
    """Write the page of what `page_data` gave; see `write_report`."""
    path = run_dir / "report.html" if out is None else out
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make {path.parent}: {error.strerror}; choose another --out") from error
    if path.is_dir():
        raise RunFolderError(f"cannot write {path}: it is a folder; name a file, such as {path / 'report.html'}")
    write_atomic(path, render(data).encode("utf-8", errors="replace"))
    return path


def render(data: Mapping[str, Any]) -> str:
    """The HTML of what `page_data` gave."""
    from plotly.offline import get_plotlyjs

    from hwnas.viz.page import page

    return page(data, get_plotlyjs())


def render_report(front: Front, run_dir: Path, trials: Sequence[Mapping[str, Any]] = ()) -> str:
    """The HTML of a front's report."""
    from hwnas.viz.data import page_data

    return render(page_data(front, run_dir, trials))


def read_trials(run_dir: Path) -> list[dict[str, Any]]:
    """Objects of `trials.jsonl` in a run folder, one a line; none if there is no such file, broken lines left out."""
    path = run_dir / TRIALS
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
