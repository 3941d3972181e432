"""`hwnas device`: devices of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json

__all__ = ["device"]

device = typer.Typer(no_args_is_help=True, help="Add or remove a device of your own: a board that ssh reaches.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, for --device.")]


@device.command()
def add(
    name: Name,
    host: Annotated[str, typer.Option(metavar="USER@BOARD", help="Where ssh finds it; a name of ~/.ssh/config, too.")],
    runtime: Annotated[str, typer.Option(metavar="R", help="What models run with there; see `hwnas runtimes`.")] = (
        "onnxruntime"
    ),
    python: Annotated[str, typer.Option(metavar="P", help="The Python there that has the runtime.")] = "python3",
    kind: Annotated[str, typer.Option(metavar="K", help="cpu, gpu, npu, ...")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Add a board, after checking that it can be reached and has Python and the runtime.

    ssh must log in without asking: its host key is known, and a key is accepted. Nothing is installed there.
    """
    from hwnas.core.device import Device
    from hwnas.devices.own import write_own_device
    from hwnas.devices.resolve import all_devices
    from hwnas.errors import ConfigError
    from hwnas.measure.board import describe_board
    from hwnas.measure.session import RUNTIMES
    from hwnas.plugins import load_plugin

    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime {runtime!r} cannot be timed on a board; allowed: {', '.join(RUNTIMES)}")
    shipped = {name for other in all_devices() if other.reach != "ssh" for name in (other.name, *other.aliases)}
    if name in shipped:
        raise ConfigError(f"{name!r} is a device that hwnas has already; choose another name, such as my-{name}")
    precisions = tuple(p for p in load_plugin("runtime", runtime).precisions if p != "fp16")
    board = Device(
        name=name, title=f"{name} at {host}", kind=kind, runtime=runtime, precisions=precisions, reach="ssh", host=host,
        python=python, note="your own board: the first search calibrates its predictor there",
    )  # fmt: skip
    found = describe_board(board)
    board = replace(board, cpu_flags=tuple(found["cpu_flags"]), memory_bytes=found["memory_bytes"])
    path = write_own_device(board)
    if as_json:
        print_json({"file": str(path), "found": found})
        return
    memory = "unknown memory" if board.memory_bytes is None else f"{board.memory_bytes / 1e9:.1f} GB"
    typer.echo(f"{name}: {found['cpu']} ({found['machine']}), {memory}, Python {found['python']}")
    typer.echo(f"runtime: {runtime} {found['runtime_version']}, precisions {', '.join(precisions)}")
    for key in ("power_mode", "clock_mhz", "temperature_c", "energy_sensor"):
        typer.echo(f"{key}: {'unknown' if found[key] is None else found[key]}")
    typer.echo(f"written: {path}")
    typer.echo(f"next: hwnas search --device {name}")


@device.command()
def remove(name: Name) -> None:
    """Forget a board. What was calibrated for it stays in the cache."""
    from hwnas.devices.own import remove_own_device

    typer.echo(f"removed: {remove_own_device(name)}")
