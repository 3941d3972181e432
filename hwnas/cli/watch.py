"""`hwnas watch`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas.cli.options import Run

__all__ = ["watch"]


def watch(
    run: Run,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 0,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
) -> None:
    """Show a running search in the browser: progress, the front so far, the last errors.

    The page is served to this machine only and asks for what is new; Ctrl-C ends it, and not the search. A run that has
    ended, or was left half done, is shown as it is.
    """
    from hwnas.cli.browser import open_page
    from hwnas.search.watch import watch_server

    with watch_server(run, port) as server:
        typer.echo(f"{run} is shown at {server.address} (Ctrl-C ends it)")
        if open_it and not open_page(server.address):
            typer.echo("no browser was found here; open the address yourself, from another machine through ssh -L")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo()
