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
    """Write the front as one offline HTML page."""
    from hwnas.viz.report import write_report

    typer.echo(write_report(run, out))
