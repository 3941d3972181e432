"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli import complete

if TYPE_CHECKING:
    from hwnas.core.front import Front

__all__ = [
    *("AnyDomain", "AsJson", "Data", "EachFront", "EnergyBudget", "FrontDevice", "Host", "LatencyBudget"),
    *("MaxEnergy", "MaxLatency", "MaxSize", "MemoryBudget", "MinAccuracy", "Out", "Precisions", "Resume", "Run"),
    *("Seed", "SizeBudget", "Targets", "TaskName", "TimeLimit", "Trials", "front_device", "read_shape"),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print plain JSON and nothing else.")]
Run = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Run folder, as `hwnas search` named it.", autocompletion=complete.runs),
]
FrontDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="D",
        help="Device of the front; the first one, if not given.",
        autocompletion=complete.front_devices,
    ),
]
EachFront = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="D",
        help="One device of the front; all, if not given.",
        autocompletion=complete.front_devices,
    ),
]
Host = Annotated[str | None, typer.Option("--host", metavar="USER@BOARD", help="Where ssh finds it, or adb:SERIAL.")]
MaxLatency = Annotated[float | None, typer.Option(metavar="MS", help="Limit of the latency in ms.")]
MaxEnergy = Annotated[
    float | None, typer.Option(metavar="MJ", help="Limit of the measured energy of an inference in mJ.")
]
MaxSize = Annotated[float | None, typer.Option(metavar="MB", help="Limit of the file's size in MB.")]
MinAccuracy = Annotated[float | None, typer.Option(metavar="A", help="Least accuracy, from 0 to 1.")]
Seed = Annotated[int, typer.Option("--seed", metavar="K", min=0, help="Seed of every random choice.")]
TaskName = Annotated[
    str, typer.Option("--task", metavar="T", help="Task; see `hwnas tasks`.", autocompletion=complete.tasks)
]
Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder or file with the task's data.")]

# Of the commands that search.
Targets = Annotated[
    list[str],
    typer.Option(
        "--device",
        metavar="D",
        help="Target; repeat it for several: a front for each.",
        autocompletion=complete.devices,
    ),
]
Trials = Annotated[int | None, typer.Option("--trials", metavar="N", min=1, help="Number of candidates to evaluate.")]
TimeLimit = Annotated[str | None, typer.Option("--time", metavar="10m", help="Time for the whole job: 30s, 10m, 2h.")]
LatencyBudget = Annotated[
    float | None,
    typer.Option("--max-latency", metavar="MS", help="No model slower than this, in ms, on any of the devices."),
]
EnergyBudget = Annotated[
    float | None,
    typer.Option("--max-energy", metavar="MJ", help="No model that needs more energy an inference, in mJ, on any."),
]
SizeBudget = Annotated[
    float | None, typer.Option("--max-size", metavar="MB", help="No model with more weights than this, in MB.")
]
MemoryBudget = Annotated[
    float | None,
    typer.Option(
        "--max-memory",
        metavar="MB",
        help="No model that needs more memory, modelled: weights and the largest operation.",
    ),
]
Precisions = Annotated[
    list[str] | None,
    typer.Option(
        "--precision",
        metavar="P",
        help="Precision to search; repeat it; all that the devices share, if not given.",
        autocompletion=complete.precisions,
    ),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; a new one in runs/, if not given.")]
AnyDomain = Annotated[
    bool, typer.Option("--allow-out-of-domain", help="Search networks unlike any that the device's data hold, too.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the search in the run folder.")]


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
