"""`hwnas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli import complete
from hwnas.cli.options import Run

__all__ = ["export"]


def export(
    run: Run,
    model: Annotated[
        str,
        typer.Option(metavar="ID", help="Model of the front; see `hwnas front RUN`.", autocompletion=complete.models),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder.")],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="F,...",
            help="Formats, separated by commas. Default: the first that it has.",
            autocompletion=complete.formats,
        ),
    ] = None,
) -> None:
    """Copy a finished model to deploy it.

    The folder gets the model file, its manifest, labels and a card, for ONNX also predict.py, which needs numpy and
    ONNX Runtime alone; and of several formats a folder for each. The copy is checked against the SHA-256 of the front.
    """
    from hwnas.export.copy import copy_model
    from hwnas.store import read_front

    read_front(run).model(model)
    names = list(dict.fromkeys(part.strip() for part in formats.split(","))) if formats else [None]
    for name in names:
        folder = to if name is None or len(names) == 1 else to / name
        artifact = copy_model(run, model, format=name, to=folder)["artifact"]
        typer.echo(f"{folder / artifact['path']} (sha256 {artifact['sha256']})")
