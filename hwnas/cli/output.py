"""How commands print: JSON for scripts, tables for people. Text from outside is never read as markup."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hwnas.core.front import Front
    from hwnas.viz.table import Limits

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


def print_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[Any]], styles: Iterable[str] | None = None
) -> None:
    """A table; headings that end in ">" are aligned to the right, and only the last column wraps.

    Args:
        styles: of the rows, such as "dim"; None: all are plain.
    """
    from itertools import repeat

    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings, start=1):
        side: Literal["left", "right"] = "right" if heading.endswith(">") else "left"
        table.add_column(Text(heading.removesuffix(">")), justify=side, overflow="fold", no_wrap=number < len(headings))
    for row, style in zip(rows, repeat("") if styles is None else styles, strict=False):
        table.add_row(*(Text(str(cell)) for cell in row), style=style)
    console().print(table)


def print_fronts(run: Path, front: Front, devices: Sequence[str], limits: Limits | None = None) -> None:
    """The front on each device as a table; of several, also which models are on all of them.

    Args:
        run: the run folder.
        limits: models outside are dimmed, and which one to take is said; None: what a search prints at its end.
    """
    for device in devices:
        _print_front(run, front, device, limits)
    if len(front.devices) > 1:
        from hwnas.viz.table import every_front, front_rows

        shared = [row.id for row in front_rows(front) if row.on_every_front]
        names = f"{', '.join(front.devices[:-1])} and {front.devices[-1]}"
        typer.echo(f"{every_front(len(front.devices))}, of {names}: {', '.join(shared) or 'no model'}")


def _print_front(run: Path, front: Front, device: str, limits: Limits | None) -> None:
    """The front on one device as a table, the knee marked."""
    from hwnas.devices.resolve import measure_of
    from hwnas.export.notes import fp32_remark
    from hwnas.viz.table import Limits, front_rows
    from hwnas.viz.text import ms, percent, size

    rows, kept = front_rows(front, device), limits or Limits()
    outside = [not kept.hold(row) for row in rows]
    in_fp32 = [fp32_remark(run, row.id, device, row.precision) for row in rows]
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
                ", ".join([*row.remarks, *([remark] if remark else []), *(["outside the limits"] if out else [])]),
            )
            for row, out, remark in zip(rows, outside, in_fp32, strict=True)
        ),
        styles=["dim" if out else "bold" if row.knee else "" for row, out in zip(rows, outside, strict=True)],
    )
    for row in rows[:1]:
        typer.echo(f"accuracy: {row.split} split, n = {row.n}, {row.accuracy_source}")
    typer.echo(f"hypervolume on {device}: {front.hypervolume[device]:.4g}")
    if limits is not None:
        typer.echo(_which(front, device, limits))


def _which(front: Front, device: str, limits: Limits) -> str:
    """The model to take and why, or why there is none."""
    from hwnas.errors import HwnasError
    from hwnas.viz.table import pick

    try:
        chosen = pick(front, device=device, limits=limits)
    except HwnasError as error:
        return str(error)
    return f"take {chosen.row.id}: {chosen.why}"
