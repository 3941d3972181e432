"""`hwnas calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.output import print_table

__all__ = ["calibrate"]


def calibrate(
    device: Annotated[str, typer.Option(metavar="D", help="Device that was measured.")],
    measurements: Annotated[Path, typer.Option(metavar="FILE", help="What `hwnas measure` wrote.")],
    sources: Annotated[
        str | None, typer.Option(metavar="D1,D2", help="Known devices to learn from (not in this version).")
    ] = None,
    classes: Annotated[int, typer.Option(metavar="N", min=1, help="Number of outputs of the networks.")] = 10,
    seed: Annotated[int, typer.Option(metavar="K", min=0, help="Seed of the held-out folds.")] = 0,
) -> None:
    """Fit a latency predictor to measurements.

    Prints how good it is on networks that it did not see. Later searches use it.
    """
    from hwnas.core.measurement import read_measurements
    from hwnas.devices.resolve import find_device
    from hwnas.errors import ConfigError
    from hwnas.viz.text import percent

    target = find_device(device)
    if sources is not None:
        raise ConfigError(f"--sources {sources}: this version learns from the device's own measurements; leave it out")
    records = list(read_measurements(measurements))
    from hwnas.latency.calibrate import predictors_from_measurements
    from hwnas.latency.library import save_predictor

    fitted = predictors_from_measurements(target, records, n_outputs=classes, seed=seed)
    folders = [save_predictor(predictor, local=target.is_local) for predictor in fitted.values()]
    cards = [predictor.card for predictor in fitted.values()]
    print_table(
        f"predictors of {target.name}: figures of networks that were held out",
        (
            *("precision", "networks>", "held out>", "error (MAPE)>", "Spearman>", "Kendall>"),
            *("within 5 %>", "within 10 %>", "in interval>", "spaces"),
        ),
        (
            (
                *(card.precision, card.n_measurements, card.held_out, percent(card.mape, 1)),
                *("not known" if value is None else f"{value:.3f}" for value in (card.spearman, card.kendall)),
                *(percent(share, 0) for share in (card.within_5, card.within_10, card.interval_coverage)),
                ", ".join(card.spaces),
            )
            for card in cards
        ),
    )
    for folder in folders:
        typer.echo(f"saved: {folder}")
