"""`hwnas pick`."""

from __future__ import annotations

import typer

from hwnas.cli.options import AsJson, FrontDevice, MaxEnergy, MaxLatency, MaxSize, MinAccuracy, Run, front_device
from hwnas.cli.output import print_json

__all__ = ["pick"]


def pick(
    run: Run,
    max_latency: MaxLatency = None,
    max_energy: MaxEnergy = None,
    max_size: MaxSize = None,
    min_accuracy: MinAccuracy = None,
    device: FrontDevice = None,
    as_json: AsJson = False,
) -> None:
    """Say which model to take, why this one, and what its neighbours on the front would gain and lose.

    Without a limit the knee of the front; else the most accurate model within the limits (with a least accuracy and no
    limit of the latency, the fastest).
    """
    from hwnas.export.notes import graph_notes
    from hwnas.store import read_front
    from hwnas.viz.commands import export_command
    from hwnas.viz.table import Limits, neighbours
    from hwnas.viz.table import pick as choose
    from hwnas.viz.text import latency_words, ms, percent, size

    found = read_front(run)
    limits = Limits(
        max_latency_ms=max_latency, max_energy_mj=max_energy, max_size_mb=max_size, min_accuracy=min_accuracy
    )
    chosen = choose(found, device=front_device(found, device), limits=limits)
    row = chosen.row
    command, notes = export_command(run, row.id, list(row.artifacts)), graph_notes(run, row.id, chosen.device)
    if as_json:
        print_json(
            {"device": chosen.device, "why": chosen.why, "model": row.to_json(), "notes": notes, "export": command}
        )
        return
    typer.echo(f"{row.id}: {chosen.why}")
    typer.echo(f"accuracy {percent(row.accuracy)} ({row.split}, n = {row.n}, {row.accuracy_source})")
    typer.echo(f"latency {latency_words(row.latency)}")
    if row.energy_mj is not None:
        typer.echo(f"energy {ms(row.energy_mj)} mJ an inference, measured")
    typer.echo(f"size {size(row.size_bytes)}, {row.precision}")
    for remark in [*row.remarks, *(f"on the machine that exported it, {note}" for note in notes)]:
        typer.echo(f"note: {remark}")
    for words in neighbours(found, chosen):
        typer.echo(f"instead: {words}")
    typer.echo(f"export: {command}")
