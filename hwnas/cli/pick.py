"""`hwnas pick`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.options import AsJson, FrontDevice, Run, front_device
from hwnas.cli.output import print_json

__all__ = ["pick"]


def pick(
    run: Run,
    max_latency: Annotated[float | None, typer.Option(metavar="MS", help="Latency limit in ms.")] = None,
    device: FrontDevice = None,
    as_json: AsJson = False,
) -> None:
    """Say which model to take, and why.

    Without a limit the knee of the front; with one, the most accurate model within it.
    """
    from hwnas.store import read_front
    from hwnas.viz.page import export_command
    from hwnas.viz.table import pick as choose
    from hwnas.viz.text import latency_words, percent

    found = read_front(run)
    chosen = choose(found, device=front_device(found, device), max_latency_ms=max_latency)
    row = chosen.row
    command = export_command(run, row.id, list(row.artifacts))
    if as_json:
        print_json({"device": chosen.device, "why": chosen.why, "model": row.to_json(), "export": command})
        return
    typer.echo(f"{row.id}: {chosen.why}")
    typer.echo(f"accuracy {percent(row.accuracy)} ({row.split}, n = {row.n}, {row.accuracy_source})")
    typer.echo(f"latency {latency_words(row.latency)}")
    for remark in row.remarks:
        typer.echo(f"note: {remark}")
    typer.echo(f"export: {command}")
