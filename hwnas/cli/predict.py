"""`hwnas predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli import complete
from hwnas.cli.options import AsJson, Data, TaskName, read_shape
from hwnas.cli.output import print_json, print_table

if TYPE_CHECKING:
    from hwnas.core.candidate import Candidate
    from hwnas.core.ops import OpList
    from hwnas.core.predictor import LatencyPredictor, Prediction

__all__ = ["predict"]

_USAGE = "give MODEL.onnx, or --space S and --architectures FILE"


def predict(
    device: Annotated[
        str, typer.Option(metavar="D", help="Device; see `hwnas devices`.", autocompletion=complete.devices)
    ],
    model: Annotated[Path | None, typer.Argument(metavar="[MODEL.onnx]", help="Any ONNX file.")] = None,
    space: Annotated[
        str | None,
        typer.Option(metavar="S", help="Search space of the architectures.", autocompletion=complete.spaces),
    ] = None,
    architectures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON Lines, or .csv or .parquet with one column a choice."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="If not given: the model's own; of architectures the device's first.",
            autocompletion=complete.precisions,
        ),
    ] = None,
    input_shape: Annotated[
        list[str] | None,
        typer.Option(metavar="SHAPE", help="Shape of the model's input without the batch, such as 3,224,224."),
    ] = None,
    breakdown: Annotated[bool, typer.Option("--breakdown", help="Show which operation takes how much of it.")] = False,
    task: TaskName = "digits",
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Predict the latency of a model file or of architectures, and the energy where the device's was read.

    Each gets a value, a 90 % interval, and whether it lies in the ranges that the predictor was fitted on.
    """
    from hwnas.errors import ConfigError

    if model is not None:
        if space is not None or architectures is not None:
            raise ConfigError(f"got a model file and architectures; {_USAGE}")
        _predict_model(device, model, precision, [read_shape(text) for text in input_shape or ()], breakdown, as_json)
        return
    if space is None or architectures is None:
        raise ConfigError(f"nothing to predict; {_USAGE}")
    if input_shape:
        raise ConfigError("--input-shape is of a model file; the input of architectures is that of --task")
    found = _predict_architectures(device, space, architectures, precision, task, data)
    if breakdown and len(found) != 1:
        raise ConfigError(f"--breakdown shows one network, {architectures} holds {len(found)}; give a file with one")
    rows = [
        {
            "id": candidate.id,
            "precision": candidate.compression.precision,
            **_prediction_json(prediction, predictor, network),
            **({"breakdown": _breakdown(predictor, network)} if breakdown else {}),
        }
        for candidate, network, predictor, prediction in found
    ]
    if as_json:
        print_json(rows)
        return
    _show_architectures(device, rows)
    if breakdown:
        _show_breakdown(rows[0]["breakdown"])


def _prediction_json(found: Prediction, predictor: LatencyPredictor, network: OpList) -> dict[str, Any]:
    from hwnas.core.predictor import energy_predictor

    of_energy = energy_predictor(predictor)
    return {
        "latency_ms": found.latency_ms,
        "low_ms": found.low_ms,
        "high_ms": found.high_ms,
        "in_domain": found.in_domain,
        "reason": found.reason,
        "energy_mj": None if of_energy is None else of_energy.predict([network])[0].energy_mj,
        "predictor": found.predictor,
    }


def _predict_model(
    device: str,
    path: Path,
    precision: str | None,
    input_shapes: list[tuple[int, ...]],
    breakdown: bool,
    as_json: bool,
) -> None:
    from hwnas.devices.resolve import check_precisions, find_device
    from hwnas.latency.library import find_predictors
    from hwnas.latency.whole import predict_whole, require_predictor, unknown_operations
    from hwnas.onnx_ops.operations import onnx_operations

    target = find_device(device)
    if precision is not None:
        check_precisions(target, [precision])
    model = onnx_operations(path, input_shapes)
    predictors = find_predictors(target, space=None, input_shape=model.inputs[0][1])
    wanted = precision or model.precision
    way_out = "" if precision else f"The model computes in {wanted}; predict it in another with --precision. "
    predictor = require_predictor(predictors, target, wanted, hint=way_out)
    network = model.operations if precision is None else model.operations.at(precision)
    unknown = unknown_operations(network, predictor, model.operators, model.nodes)
    card = predictor.card
    row = {
        "model": str(path),
        "device": target.name,
        "precision": wanted,
        "inputs": {name: list(shape) for name, shape in model.inputs},
        **_prediction_json(predict_whole(network, predictor, unknown), predictor, network),
        "source": "predicted",
        "predictor_source": "measured" if card.measured else "modelled",
        "statistic": card.statistic,
        "operations": len(network),
        "macs": network.macs,
        "params": network.params,
        "unknown_operations": [entry.to_json() for entry in unknown],
        "notes": list(model.notes),
    }
    if breakdown:
        row["breakdown"] = _breakdown(predictor, network, model.nodes)
    if as_json:
        print_json(row)
    else:
        _show_model(row)


def _breakdown(predictor: LatencyPredictor, network: OpList, names: tuple[str, ...] | None = None) -> dict[str, Any]:
    from hwnas.latency.whole import breakdown_json

    return breakdown_json(predictor.breakdown(network), names)


def _predict_architectures(
    device: str, space: str, architectures: Path, precision: str | None, task: str, data: Path | None
) -> list[tuple[Candidate, OpList, LatencyPredictor, Prediction]]:
    from hwnas.cli.candidates import read_candidates
    from hwnas.devices.resolve import check_precisions, find_device
    from hwnas.latency.library import find_predictors
    from hwnas.latency.whole import require_predictor
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
        predictor = require_predictor(predictors, target, candidate.compression.precision)
        network = operations(bound, candidate, shape, multiple=target.channel_multiple)
        rows.append((candidate, network, predictor, predictor.predict([network])[0]))
    return rows


def _show_architectures(device: str, rows: list[dict[str, Any]]) -> None:
    from hwnas.devices.resolve import measure_of

    print_table(
        f"predicted on {device}: {measure_of(device)}",
        ("architecture", "precision", "predicted ms>", "90 % interval>", "predicted mJ>", "in domain"),
        ((row["id"], row["precision"], *_latency_cells(row)) for row in rows),
    )


def _latency_cells(row: dict[str, Any]) -> tuple[str, str, str, str]:
    from hwnas.viz.text import ms

    domain = "yes" if row["in_domain"] else f"no: {row['reason']}"
    energy = "not known" if row["energy_mj"] is None else ms(row["energy_mj"])
    return ms(row["latency_ms"]), f"{ms(row['low_ms'])} to {ms(row['high_ms'])}", energy, domain


def _show_model(row: dict[str, Any]) -> None:
    from hwnas.devices.resolve import measure_of
    from hwnas.viz.text import count

    print_table(
        f"predicted on {row['device']}: {measure_of(row['device'])}",
        ("model", "precision", "predicted ms>", "90 % interval>", "predicted mJ>", "in domain"),
        ((Path(row["model"]).name, row["precision"], *_latency_cells(row)),),
    )
    inputs = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in row["inputs"].items())
    work = f"{row['operations']} operations, {count(row['macs'])} MACs, {count(row['params'])} parameters"
    typer.echo(f"input: {inputs}; {work}")
    typer.echo(f"predictor: {row['predictor']}, {row['predictor_source']} source, statistic: {row['statistic']}")
    if row["unknown_operations"]:
        parts = (f"{u['operator']} x{u['count']} ({', '.join(u['nodes'])})" for u in row["unknown_operations"])
        typer.echo(f"not known: {', '.join(parts)}")
    for note in row["notes"]:
        typer.echo(f"note: {note}")
    if "breakdown" in row:
        _show_breakdown(row["breakdown"])


def _show_breakdown(found: dict[str, Any]) -> None:
    from hwnas.viz.text import count, ms, percent

    def cells(value: float, share: float) -> tuple[str, str]:
        return "0" if value == 0 else ms(value), percent(share, 1)

    rows = [
        (
            row["position"],
            row["kind"],
            row["name"],
            "x".join(map(str, row["output"])),
            count(row["macs"]) if row["macs"] else "",
            *cells(row["ms"], row["share"]),
        )
        for row in found["operations"]
    ]
    whole = ("", "whole network", "", "", "", *cells(found["network_ms"], found["network_share"]))
    total = ("", "total", "", "", "", *cells(found["total_ms"], 1.0))
    typer.echo()
    print_table(
        "which operation takes how much (0: computed with the one before it)",
        ("at>", "kind", "operation", "output", "MACs>", "ms>", "share>"),
        [*rows, whole, total],
    )
