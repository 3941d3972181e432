"""`hwnas calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas.cli import complete
from hwnas.cli.options import AsJson, Data, TaskName
from hwnas.cli.output import print_json, print_table

if TYPE_CHECKING:
    from hwnas.core.device import Device
    from hwnas.core.measurement import Measurement
    from hwnas.core.predictor import Card
    from hwnas.core.task import Task

__all__ = ["calibrate"]


def calibrate(
    device: Annotated[
        str, typer.Option(metavar="D", help="Device that was measured.", autocompletion=complete.devices)
    ],
    measurements: Annotated[
        Path, typer.Option(metavar="FILE", help="What `hwnas measure` wrote, or a table: .csv, .parquet.")
    ],
    sources: Annotated[
        str | None,
        typer.Option(metavar="D1,D2", help="Known devices to learn from, or none; all that know the space."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(metavar="S", help="Space of a table's rows.", autocompletion=complete.spaces)
    ] = None,
    column: Annotated[str, typer.Option(metavar="NAME", help="A table's column of latencies in ms.")] = "latency_ms",
    energy_column: Annotated[
        str | None, typer.Option(metavar="NAME", help="A table's column of the energy of an inference in mJ.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="P", help="Precision of a table; the device's first.", autocompletion=complete.precisions),
    ] = None,
    task: TaskName = "digits",
    data: Data = None,
    classes: Annotated[int, typer.Option(metavar="N", min=1, help="Number of outputs of the networks.")] = 10,
    seed: Annotated[int, typer.Option(metavar="K", min=0, help="Seed of the held-out folds.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Fit a latency predictor to measurements, from one to thousands.

    From few it is learned with the help of known devices. Where the energy of 20 and more networks was read, it is
    learned, too. Prints how good it is on networks that it did not see. Later searches use it. A table has a column a
    choice of the space, and one of latencies.
    """
    from hwnas.devices.resolve import find_device
    from hwnas.latency.calibrate import predictors_from_measurements
    from hwnas.latency.library import save_predictor

    target = find_device(device)
    records = _records(measurements, target, space, (column, energy_column), precision, task, data)
    names = None if sources is None else [name for name in sources.split(",") if name and name != "none"]
    like = _like(task, data)
    fitted = predictors_from_measurements(target, records, n_outputs=classes, seed=seed, sources=names, like=like)
    folders = [save_predictor(predictor, local=target.is_local) for predictor in fitted.values()]
    of_energy = [predictor.energy.card for predictor in fitted.values() if predictor.energy is not None]
    cards = [*(predictor.card for predictor in fitted.values()), *of_energy]
    if as_json:
        print_json([card.to_json() for card in cards])
        return
    _show(target.name, cards)
    for folder in folders:
        typer.echo(f"saved: {folder}")


def _like(task: str, data: Path | None) -> Task | None:
    """The task whose ids or sample rate the networks were built for; None: they take images."""
    from hwnas.plugins import load_plugin

    load = load_plugin("task", task)
    if data is None or getattr(load, "default_space", None) is None:
        return None
    found: Task = load(data, input_shape=None, seed=0)
    return found


def _records(
    path: Path,
    target: Device,
    space: str | None,
    columns: tuple[str, str | None],
    precision: str | None,
    task: str,
    data: Path | None,
) -> list[Measurement]:
    from hwnas.core.measurement import read_measurements
    from hwnas.devices.resolve import check_precisions
    from hwnas.errors import ConfigError
    from hwnas.latency.recorded import measurements_from_table
    from hwnas.latency.tables import TABLES
    from hwnas.plugins import load_plugin

    if path.suffix.lower() not in TABLES:
        return list(read_measurements(path))
    if space is None:
        raise ConfigError(f"{path} is a table; say with --space which space its rows are of. See `hwnas spaces`")
    unbound = load_plugin("space", space)
    shape = load_plugin("task", task)(data, input_shape=unbound.input_shape, seed=0)
    wanted = check_precisions(target, None if precision is None else [precision])[0]
    return measurements_from_table(
        path, unbound.for_task(shape), target,
        column=columns[0], energy_column=columns[1], precision=wanted, input_shape=tuple(shape.input_shape),
    )  # fmt: skip


def _show(device: str, cards: list[Card]) -> None:
    from hwnas.viz.text import percent

    print_table(
        f"predictors of {device}: figures of networks that were held out",
        (
            *("precision", "of", "networks>", "held out>", "error (MAPE)>", "Spearman>", "Kendall>"),
            *("within 5 %>", "within 10 %>", "in interval>", "spaces", "learned with"),
        ),
        (
            (
                *(card.precision, card.quantity, card.n_measurements, card.held_out, percent(card.mape, 1)),
                *("not known" if value is None else f"{value:.3f}" for value in (card.spearman, card.kendall)),
                *(percent(share, 0) for share in (card.within_5, card.within_10, card.interval_coverage)),
                ", ".join(card.spaces),
                f"{len(card.learned_from)} known predictors" if card.learned_from else "its own measurements alone",
            )
            for card in cards
        ),
    )
