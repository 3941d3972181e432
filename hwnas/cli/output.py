"""How commands print: JSON for scripts, tables for people. Text from outside is never read as markup."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hwnas.core.front import Front

__all__ = ["console", "print_fronts", "print_json", "print_table"]

# Wide enough for any table of hwnas, so that a pipe or a log never gets shortened ids.
PLAIN_WIDTH = 160


def print_json(payload: object) -> None:
    """Write plain JSON and nothing else."""
    typer.echo(json.dumps(payload, indent=2, allow_nan=False))


def console() -> Console:
    """A console on stdout; wide where stdout is not a terminal."""
    from rich.console import Console

    made = Console(markup=False, highlight=False, emoji=False)
    return made if made.is_terminal else Console(markup=False, highlight=False, emoji=False, width=PLAIN_WIDTH)


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; headings that end in ">" are aligned to the right, and only the last column wraps."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings, start=1):
        side: Literal["left", "right"] = "right" if heading.endswith(">") else "left"
        table.add_column(Text(heading.removesuffix(">")), justify=side, overflow="fold", no_wrap=number < len(headings))
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console().print(table)


def print_fronts(front: Front, devices: Sequence[str]) -> None:
    """The front on each device as a table; of several, also which models are on all of them."""
    for device in devices:
        _print_front(front, device)
    if len(front.devices) > 1:
        from hwnas.viz.table import every_front, front_rows

        shared = [row.id for row in front_rows(front) if row.on_every_front]
        names = f"{', '.join(front.devices[:-1])} and {front.devices[-1]}"
        typer.echo(f"{every_front(len(front.devices))}, of {names}: {', '.join(shared) or 'no model'}")


def _print_front(front: Front, device: str) -> None:
    """The front on one device as a table, the knee marked."""
    from hwnas.devices.resolve import measure_of
    from hwnas.viz.table import front_rows
    from hwnas.viz.text import ms, percent, size

    rows = front_rows(front, device)
    print_table(
        f"{front.task} on {device}, space {front.space}: {len(rows)} models, {measure_of(device)}",
        ("model", "precision", "accuracy>", "measured>", "predicted>", "90 % interval>", "size>", ""),
        (
            (
                row.id,
                row.precision,
                percent(row.accuracy),
                "no" if row.latency.measured is None else ms(row.latency.measured.value),
                ms(row.latency.predicted),
                f"{ms(row.latency.low)} to {ms(row.latency.high)}",
                size(row.size_bytes),
                ", ".join(row.remarks),
            )
            for row in rows
        ),
    )
    for row in rows[:1]:
        typer.echo(f"accuracy: {row.split} split, n = {row.n}, {row.accuracy_source}")
    typer.echo(f"hypervolume on {device}: {front.hypervolume[device]:.4g}")
