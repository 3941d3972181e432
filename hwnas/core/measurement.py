"""A measurement: raw samples of one candidate on one device, one JSON line each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.candidate import Candidate
from hwnas.errors import MeasurementError, SchemaError

__all__ = [
    "MEASUREMENTS",
    "SCHEMA",
    "Measurement",
    "latest_measurements",
    "measurement_lines",
    "read_measurements",
    "write_measurements",
]

SCHEMA = 1
MEASUREMENTS = "measurements.jsonl"  # of the models of a run, in its folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Raw samples in ms, a tuple per round, and the conditions they were taken in; None is not known.

    Energy is that of one inference, of everything on the supply that was read.
    Percentiles are computed when read: outliers stay in, because p95 must see a throttling board's slow tail.
    """

    candidate: Candidate
    device: str
    runtime: str
    runtime_version: str | None
    samples_ms: tuple[tuple[float, ...], ...]
    stable: bool | None
    time: str
    precision: str = "fp32"
    batch: int = 1
    threads: int | None = None
    warmup: int | None = None
    clock_mhz: float | None = None
    temperature_c: float | None = None
    power_mode: str | None = None
    energy_mj: float | None = None
    input_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        values = [value for samples in self.samples_ms for value in samples]
        if not values or not all(math.isfinite(value) and value > 0 for value in values):
            raise MeasurementError(
                f"candidate {self.candidate.id}: samples_ms must be finite and > 0 and at least one, got {values[:5]}"
            )
        if self.energy_mj is not None and not (math.isfinite(self.energy_mj) and self.energy_mj > 0):
            raise MeasurementError(
                f"candidate {self.candidate.id}: energy_mj must be finite and > 0, or null where it was not read, "
                f"got {self.energy_mj}"
            )

    @property
    def pooled_ms(self) -> NDArray[np.float64]:
        """Samples of all rounds, `n`."""
        return np.array([value for samples in self.samples_ms for value in samples])

    def percentile_ms(self, q: float) -> float:
        """The q-th percentile (0-100) of all samples."""
        return float(np.percentile(self.pooled_ms, q))

    def to_json(self) -> dict[str, Any]:
        """One record of DESIGN's measurement format, `input_shape` added."""
        raw: dict[str, Any] = {"schema": SCHEMA, **self.candidate.to_json()}
        for field in fields(self):
            if field.name != "candidate":
                raw[field.name] = getattr(self, field.name)
        return raw

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Measurement:
        """Read one record.

        Raises:
            SchemaError: another schema number.
            MeasurementError: a key is missing, or the samples are not positive numbers.
        """
        if raw.get("schema") != SCHEMA:
            raise SchemaError(f"record has schema {raw.get('schema')!r}, this version reads {SCHEMA}; measure again")
        names = {field.name for field in fields(cls)} - {"candidate"}
        known = {name: raw[name] for name in names if name in raw}
        try:
            known["samples_ms"] = tuple(tuple(map(float, samples)) for samples in raw["samples_ms"])
            if known.get("input_shape") is not None:
                known["input_shape"] = tuple(map(int, known["input_shape"]))
            return cls(candidate=Candidate.from_json(raw), **known)
        except (KeyError, TypeError, ValueError) as error:
            raise MeasurementError(f"a record is not a measurement: {type(error).__name__} {error}") from error


def write_measurements(path: Path, measurements: Iterable[Measurement]) -> None:
    """Append one line a measurement, flushed line by line so that an interruption loses none."""
    with path.open("a", encoding="utf-8") as file:
        for measurement in measurements:
            file.write(_line(measurement))
            file.flush()


def measurement_lines(measurements: Iterable[Measurement]) -> bytes:
    """What a file of these measurements holds, for those who write it as a whole."""
    return "".join(map(_line, measurements)).encode()


def latest_measurements(path: Path) -> dict[str, dict[str, Measurement]]:
    """Device -> id of the candidate -> its latest measurement in a file; nothing if there is no file.

    Raises:
        MeasurementError: a line is broken (named by its number).
    """
    found: dict[str, dict[str, Measurement]] = {}
    for measurement in read_measurements(path) if path.exists() else ():
        found.setdefault(measurement.device, {})[measurement.candidate.id] = measurement
    return found


def read_measurements(path: Path) -> Iterator[Measurement]:
    """Read measurements line by line.

    Raises:
        MeasurementError: the file is missing or a line is broken (named by its number).
    """
    if not path.is_file():
        raise MeasurementError(f"no measurements at {path}; write some with `hwnas measure --device D --out {path}`")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                raw = json.loads(line)
            except ValueError as error:
                raise MeasurementError(f"{path}, line {number}: not JSON ({error}); remove the line") from error
            if not isinstance(raw, dict):
                raise MeasurementError(f"{path}, line {number}: expected an object, got {type(raw).__name__}")
            try:
                yield Measurement.from_json(raw)
            except (MeasurementError, SchemaError) as error:
                raise type(error)(f"{path}, line {number}: {error}") from error


def _line(measurement: Measurement) -> str:
    return json.dumps(measurement.to_json()) + "\n"
