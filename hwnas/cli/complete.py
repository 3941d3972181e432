"""What the shell offers on <TAB>: names that are there. Nothing is imported that a search needs only to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hwnas.errors import HwnasError
from hwnas.plugins import plugin_names

if TYPE_CHECKING:
    from hwnas.core.front import Front

__all__ = [
    *("devices", "formats", "front_devices", "hosted_runtimes", "models", "own_devices", "precisions", "runs"),
    *("samplers", "spaces", "tasks"),
]

Offers = list[tuple[str, str]]  # what can be written, and what it is


def devices() -> Offers:
    """Every device, the user's own too, by name and alias."""
    from hwnas.devices.resolve import all_devices

    try:
        return [(name, device.title) for device in all_devices() for name in (device.name, *device.aliases)]
    except HwnasError:  # one is broken; a command will say which
        return [(name, "") for name in plugin_names("device")]


def own_devices() -> Offers:
    """The user's own."""
    from hwnas.devices.own import own_devices as found

    try:
        return [(device.name, device.title) for device in found()]
    except HwnasError:
        return []


def spaces() -> list[str]:
    """Search spaces, by the names of their entry points."""
    return plugin_names("space")


def tasks() -> list[str]:
    """Tasks, likewise."""
    return plugin_names("task")


def hosted_runtimes() -> list[str]:
    """Runtimes that a board can be timed with."""
    from hwnas.measure.loaders import BOARD_RUNTIMES

    return list(BOARD_RUNTIMES)


def precisions() -> list[str]:
    """All that hwnas knows."""
    from hwnas.core.compression import PRECISIONS

    return list(PRECISIONS)


def samplers() -> list[str]:
    """What proposes candidates."""
    from hwnas.search.config import SAMPLERS

    return list(SAMPLERS)


def runs(incomplete: str) -> list[str]:
    """Run folders beside what is written so far, else in `runs/`; none: the shell offers files."""
    typed = Path(incomplete)
    parent = typed if incomplete.endswith("/") else typed.parent
    homes = [parent] if "/" in incomplete else [Path(), Path("runs")]
    return sorted(str(folder) for home in homes for folder in _folders(home) if _is_run(folder))


def models(context: typer.Context) -> Offers:
    """Models of the run that stands on the command line."""
    from hwnas.viz.text import ms, percent

    front = _front(context)
    found = () if front is None else front.models
    return [
        (model.id, f"{percent(model.accuracy)} at {ms(model.latency_ms)} ms, {model.compression.precision}")
        for model in found
    ]


def formats(context: typer.Context) -> list[str]:
    """Formats of that run's models."""
    front = _front(context)
    return [] if front is None else sorted({name for model in front.models for name in model.artifacts})


def front_devices(context: typer.Context) -> list[str]:
    """Devices of that run."""
    front = _front(context)
    return [] if front is None else list(front.devices)


def _folders(home: Path) -> list[Path]:
    try:
        return [path for path in home.iterdir() if path.is_dir()]
    except OSError:
        return []


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("front.json", "config.json"))


def _front(context: typer.Context) -> Front | None:
    from hwnas.store import read_front

    # Behind an option that has no value yet, arguments are not parsed into parameters.
    run = context.params.get("run") or next(iter(context.args), None)
    try:
        return None if run is None else read_front(Path(run))
    except HwnasError:
        return None
