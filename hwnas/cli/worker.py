"""`hwnas worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.options import Data, Run

__all__ = ["worker"]


def worker(
    run: Run,
    storage: Annotated[
        str | None, typer.Option(metavar="URL", help="The database, if this machine reaches it by another URL.")
    ] = None,
    data: Data = None,
) -> None:
    """Take part in a search that has a PostgreSQL storage.

    Give the run folder, or a copy of it, on as many machines as there are; each evaluates candidates until the search
    has enough. What a worker that died has not finished, another one does.
    """
    from hwnas.cli.progress import progress_listener
    from hwnas.search.worker import run_worker

    with progress_listener() as listener:
        count = run_worker(run, listener, storage=storage, data=data)
    typer.echo(f"{count} candidates were evaluated here")
