"""`hwnas report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.options import Run

__all__ = ["report"]


def report(
    run: Run,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file; report.html in the run folder, if not given.")
    ] = None,
) -> None:
    """Write a run as one HTML page that works offline: its front, or what a search has found so far."""
    from hwnas.search.state import RunReader, page_of
    from hwnas.viz.report import save_report

    typer.echo(save_report(page_of(RunReader(run).look()), run, out))
