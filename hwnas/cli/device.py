"""`hwnas device`: devices of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli import complete
from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json

if TYPE_CHECKING:
    from hwnas.core.device import Device

__all__ = ["device"]

device = typer.Typer(no_args_is_help=True, help="Add or remove a device of your own: a board that ssh or adb reaches.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, for --device.")]


@device.command()
def add(
    name: Name,
    host: Annotated[str, typer.Option(metavar="USER@BOARD", help="Where ssh finds it, or adb:SERIAL.")],
    like: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="A device that hwnas knows: kind, runtime, precisions, memory.",
            autocompletion=complete.devices,
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="R",
            help="What models run with there; see `hwnas runtimes`.",
            autocompletion=complete.hosted_runtimes,
        ),
    ] = None,
    python: Annotated[str, typer.Option(metavar="P", help="The Python there that has the runtime.")] = "python3",
    kind: Annotated[str | None, typer.Option(metavar="K", help="cpu, gpu, npu, ...")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a board, after checking that it can be reached and has Python and the runtime.

    ssh must log in without asking: its host key is known, and a key is accepted. Nothing is installed there.
    """
    from hwnas.devices.own import write_own_device
    from hwnas.measure.board import describe_board

    board = _board(name, host, like=like, runtime=runtime, python=python, kind=kind)
    found = describe_board(board)
    board = replace(board, cpu_flags=tuple(found["cpu_flags"]), memory_bytes=found["memory_bytes"])
    path = write_own_device(board)
    if as_json:
        print_json({"file": str(path), "found": found})
        return
    memory = "unknown memory" if board.memory_bytes is None else f"{board.memory_bytes / 1e9:.1f} GB"
    typer.echo(f"{name}: {found['cpu']} ({found['machine']}), {memory}, Python {found['python']}")
    typer.echo(f"runtime: {board.runtime} {found['runtime_version']}, precisions {', '.join(board.precisions)}")
    for key in ("power_mode", "clock_mhz", "temperature_c", "energy_sensor"):
        typer.echo(f"{key}: {'unknown' if found[key] is None else found[key]}")
    typer.echo(f"written: {path}")
    typer.echo(f"next: hwnas search --device {name}")


def _board(name: str, host: str, *, like: str | None, runtime: str | None, python: str, kind: str | None) -> Device:
    from hwnas.core.compression import SEARCHED
    from hwnas.core.device import Device, reach_of
    from hwnas.devices.resolve import all_devices, find_device
    from hwnas.errors import ConfigError
    from hwnas.measure.loaders import BOARD_RUNTIMES
    from hwnas.plugins import load_plugin

    shipped = {name for other in all_devices() if not other.is_board for name in (other.name, *other.aliases)}
    if name in shipped:
        raise ConfigError(f"{name!r} is a device that hwnas has already; choose another name, such as my-{name}")
    model = Device(name=name, title=name, kind="cpu", runtime="onnxruntime") if like is None else find_device(like)
    runs = runtime or model.runtime
    if runs not in BOARD_RUNTIMES:
        raise ConfigError(f"runtime {runs!r} cannot be timed on a board; --runtime takes: {', '.join(BOARD_RUNTIMES)}")
    kind = kind or model.kind
    precisions = model.precisions
    if like is None or runs != model.runtime:
        # CPUs store fp16 and compute in fp32.
        offered = [p for p in load_plugin("runtime", runs).precisions if p in SEARCHED]
        precisions = tuple(p for p in offered if p != "fp16" or kind != "cpu")
    return replace(
        model, name=name, title=f"{name} at {host}", kind=kind, runtime=runs, precisions=precisions,
        reach=reach_of(host), host=host, python=python, aliases=(), batch=1, quantity="latency",
        note="your own board: the first search calibrates its predictor there",
    )  # fmt: skip


@device.command()
def remove(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name, for --device.", autocompletion=complete.own_devices)
    ],
) -> None:
    """Forget a board. What was calibrated for it stays in the cache."""
    from hwnas.devices.own import remove_own_device

    typer.echo(f"removed: {remove_own_device(name)}")
