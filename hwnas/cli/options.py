"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hwnas.core.front import Front

__all__ = [
    *("AsJson", "Data", "EachFront", "FrontDevice", "Host", "MaxLatency", "MaxSize", "MinAccuracy"),
    *("Run", "Seed", "TaskName", "front_device", "read_shape"),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON and nothing else.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, as `hwnas search` named it.")]
FrontDevice = Annotated[
    str | None, typer.Option("--device", metavar="D", help="Device of the front; the first one, if not given.")
]
EachFront = Annotated[
    str | None, typer.Option("--device", metavar="D", help="One device of the front; all, if not given.")
]
Host = Annotated[str | None, typer.Option("--host", metavar="USER@BOARD", help="Where ssh finds it, or adb:SERIAL.")]
MaxLatency = Annotated[float | None, typer.Option(metavar="MS", help="Limit of the latency in ms.")]
MaxSize = Annotated[float | None, typer.Option(metavar="MB", help="Limit of the file's size in MB.")]
MinAccuracy = Annotated[float | None, typer.Option(metavar="A", help="Least accuracy, from 0 to 1.")]
Seed = Annotated[int, typer.Option("--seed", metavar="K", min=0, help="Seed of every random choice.")]
TaskName = Annotated[str, typer.Option("--task", metavar="T", help="Task; see `hwnas tasks`.")]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder or file with the task's data.")]


def front_device(front: Front, name: str | None) -> str:
    """A device of the front by name or alias; the first one, if None."""
    from hwnas.devices.resolve import find_device

    return front.device(name if name is None or name in front.devices else find_device(name).name)


def read_shape(text: str) -> tuple[int, ...]:
    """An input's shape without the batch from "3,224,224" or "3x224x224".

    Raises:
        ConfigError: it is none.
    """
    from hwnas.errors import ConfigError

    try:
        shape = tuple(int(size) for size in text.replace("x", ",").split(","))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise ConfigError(f"--input-shape {text!r}: give whole numbers from 1 without the batch, such as 3,224,224")
    return shape
