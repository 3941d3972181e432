"""`hwnas predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.options import AsJson, Data, TaskName
from hwnas.cli.output import print_json, print_table

if TYPE_CHECKING:
    from hwnas.core.predictor import Prediction

__all__ = ["predict"]


def predict(
    device: Annotated[str, typer.Option(metavar="D", help="Device; see `hwnas devices`.")],
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.onnx]", help="A model file (not in this version).")
    ] = None,
    space: Annotated[str | None, typer.Option(metavar="S", help="Search space of the architectures.")] = None,
    architectures: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON Lines, one {choice: value} a line.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(metavar="P", help="Precision where the file names none; the device's first.")
    ] = None,
    task: TaskName = "digits",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Predict the latency of architectures.

    Each gets a value, a 90 % interval, and whether it lies in the ranges that the predictor was fitted on.
    """
    from hwnas.errors import ConfigError

    if model is not None:
        raise ConfigError(
            f"got model file {model}; this version predicts architectures of a space: --space S --architectures FILE"
        )
    if space is None or architectures is None:
        raise ConfigError("nothing to predict; give --space S and --architectures FILE")
    rows = [
        {
            "id": candidate.id,
            "precision": candidate.compression.precision,
            "latency_ms": found.latency_ms,
            "low_ms": found.low_ms,
            "high_ms": found.high_ms,
            "in_domain": found.in_domain,
            "reason": found.reason,
            "predictor": found.predictor,
        }
        for candidate, found in _predict(device, space, architectures, precision, task, data)
    ]
    if as_json:
        print_json(rows)
    else:
        _show(device, rows)


def _predict(
    device: str, space: str, architectures: Path, precision: str | None, task: str, data: Path | None
) -> list[tuple[Any, Prediction]]:
    from hwnas.cli.candidates import read_candidates
    from hwnas.devices.resolve import check_precisions, find_device
    from hwnas.errors import PredictorError
    from hwnas.latency.library import find_predictors
    from hwnas.plugins import load_plugin
    from hwnas.trace import operations

    target = find_device(device)
    default = check_precisions(target, None if precision is None else [precision])[0]
    unbound = load_plugin("space", space)
    shape = load_plugin("task", task)(data, input_shape=unbound.input_shape, seed=0)
    bound = unbound.for_task(shape)
    candidates = read_candidates(architectures, bound, precision=default)
    predictors = find_predictors(target, space=space, input_shape=shape.input_shape)
    rows = []
    for candidate in candidates:
        wanted = candidate.compression.precision
        if wanted not in predictors:
            raise PredictorError(
                f"no predictor of {target.name} for {wanted}; there are: {', '.join(predictors) or 'none'}. "
                f"Make one with `hwnas measure` and `hwnas calibrate`"
            )
        network = operations(bound, candidate, shape, multiple=target.channel_multiple)
        rows.append((candidate, predictors[wanted].predict([network])[0]))
    return rows


def _show(device: str, rows: list[dict[str, Any]]) -> None:
    from hwnas.viz.text import ms

    print_table(
        f"predicted latency on {device}, batch 1",
        ("architecture", "precision", "predicted ms>", "90 % interval>", "in domain"),
        (
            (
                row["id"],
                row["precision"],
                ms(row["latency_ms"]),
                f"{ms(row['low_ms'])} to {ms(row['high_ms'])}",
                "yes" if row["in_domain"] else f"no: {row['reason']}",
            )
            for row in rows
        ),
    )
