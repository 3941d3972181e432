"""Other people's measurements: a table with a network a row, and one column of latencies."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from pathlib import Path

from hwnas.core.architecture import Architecture, Value
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.device import Device
from hwnas.core.measurement import Measurement
from hwnas.core.space import SearchSpace
from hwnas.errors import DataError, InvalidArchitectureError, MeasurementError
from hwnas.latency.tables import read_table

__all__ = ["architecture_of", "measurements_from_table"]


def architecture_of(space: SearchSpace, row: Mapping[str, Value]) -> Architecture:
    """The architecture that a row of a table means.

    A cell holds an option (3, 3.0 and "3" are the option 3), or its number where the space's published tables use
    numbers (`SearchSpace.codes`).

    Raises:
        InvalidArchitectureError: it is not an architecture of the space.
    """
    values: dict[str, Value] = {}
    for choice in space.choices:
        cell = row[choice.label]
        same = [option for option in choice.options if option == cell or str(option) == str(cell)]
        if not same and isinstance(cell, int) and 0 <= cell < len(space.codes):
            same = [space.codes[cell]]
        values[choice.label] = same[0] if same else cell
    return space.architecture(values)


def measurements_from_table(
    path: Path,
    space: SearchSpace,
    device: Device,
    *,
    column: str = "latency_ms",
    energy_column: str | None = None,
    precision: str,
    input_shape: tuple[int, ...] | None,
) -> list[Measurement]:
    """Records of one value each, for calibration.

    Args:
        path: a `.csv` or `.parquet` file with a column a choice.
        space: bound to the input that was measured.
        device: that was measured.
        column: of latencies, in ms.
        energy_column: of the energy of an inference, in mJ; its cells may be empty; None: it is not known.
        precision: of all rows.
        input_shape: that was measured, without the batch.
    Raises:
        DataError: the table is missing or broken, or lacks a column.
        InvalidArchitectureError: a row is not an architecture of the space; the message names it.
        MeasurementError: a latency or an energy is not a number above 0; the message names the row.
    """
    labels = [choice.label for choice in space.choices]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    found = []
    try:
        rows = read_table(path, [*labels, column], optional=[] if energy_column is None else [energy_column])
    except DataError as error:
        hint = "; name the column of latencies with --column" if f"no column {column!r}" in str(error) else ""
        raise DataError(f"{error}{hint}") from error
    if energy_column is not None and not any(energy_column in row for row in rows):
        raise DataError(f"{path}: no value in a column {energy_column!r}; name the column of mJ with --energy-column")
    for number, row in enumerate(rows, start=1):
        latency_ms = _above_zero(row, column, "ms", f"{path}, row {number}")
        try:
            candidate = Candidate(architecture_of(space, row), CompressionPlan.of(precision))
        except InvalidArchitectureError as error:
            raise InvalidArchitectureError(f"{path}, row {number}: {error}") from error
        found.append(
            Measurement(
                candidate=candidate,
                device=device.name,
                runtime=device.runtime,
                runtime_version=None,
                stable=None,
                samples_ms=((latency_ms,),),
                time=now,
                precision=precision,
                batch=device.batch,
                energy_mj=_energy_mj(row, energy_column, f"{path}, row {number}"),
                input_shape=input_shape,
            )
        )
    return found


def _energy_mj(row: Mapping[str, Value], column: str | None, where: str) -> float | None:
    return _above_zero(row, column, "mJ", where) if column is not None and column in row else None


def _above_zero(row: Mapping[str, Value], column: str, unit: str, where: str) -> float:
    value = row[column]
    if not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise MeasurementError(f"{where}: {column} is {value!r}, allowed: {unit} above 0. Remove or correct the row")
    return float(value)
