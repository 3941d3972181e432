from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.measurement import Measurement, read_measurements, write_measurements
from hwnas.errors import MeasurementError, SchemaError

CANDIDATE = Candidate(Architecture.of("test", {"width": 8, "kernel": "3x3"}), CompressionPlan.of("int8", {"a": 0.5}))
# The keys of DESIGN's measurement format, and the input shape.
KEYS = {
    "schema", "space", "architecture", "compression", "device", "runtime", "runtime_version", "precision", "batch",
    "threads", "samples_ms", "warmup", "clock_mhz", "temperature_c", "power_mode", "energy_mj", "stable", "time",
    "input_shape",
}  # fmt: skip


def measurement(**settings: Any) -> Measurement:
    known: dict[str, Any] = {
        "candidate": CANDIDATE,
        "device": "cpu",
        "runtime": "onnxruntime",
        "runtime_version": "1.31.1",
        "samples_ms": ((1.0, 2.0), (3.0, 40.0)),
        "stable": True,
        "time": "2026-01-01T00:00:00+00:00",
        "precision": "int8",
    }
    return Measurement(**(known | settings))


def test_percentiles_are_of_all_samples_outliers_included() -> None:
    found = measurement()
    np.testing.assert_array_equal(found.pooled_ms, [1, 2, 3, 40])
    for q in (0, 10, 50, 95, 100):
        assert found.percentile_ms(q) == np.percentile([1, 2, 3, 40], q)


def test_unknown_is_null_and_the_keys_are_those_of_the_format() -> None:
    raw = json.loads(json.dumps(measurement().to_json()))
    assert raw.keys() == KEYS
    assert all(raw[key] is None for key in ("threads", "clock_mhz", "temperature_c", "energy_mj", "input_shape"))
    assert raw["samples_ms"] == [[1.0, 2.0], [3.0, 40.0]]
    assert raw["architecture"] == {"width": 8, "kernel": "3x3"}


@pytest.mark.parametrize(
    "settings",
    [{}, {"stable": None, "runtime_version": None}, {"threads": 2, "input_shape": (3, 32, 32), "clock_mhz": 2400.5}],
)
def test_what_is_written_is_read(settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    write_measurements(path, [measurement(**settings)])
    write_measurements(path, [measurement()])
    with path.open("a") as file:
        file.write("\n")
    assert list(read_measurements(path)) == [measurement(**settings), measurement()]


@pytest.mark.parametrize(
    "samples", [(), ((),), ((1.0, 0.0),), ((-1.0,),), ((float("nan"),),), ((float("inf"),),)], ids=str
)
def test_samples_must_be_positive(samples: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(MeasurementError, match="finite and > 0"):
        measurement(samples_ms=samples)


def changed(**changes: Any) -> str:
    raw = measurement().to_json() | changes
    return json.dumps({key: value for key, value in raw.items() if value != "gone"})


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("{", MeasurementError, "line 2: not JSON"),
        ("[1]", MeasurementError, "line 2: expected an object"),
        (changed(schema=2), SchemaError, "line 2: record has schema 2"),
        (changed(schema="gone"), SchemaError, "schema None"),
        (changed(samples_ms="gone"), MeasurementError, "line 2"),
        (changed(samples_ms=[["fast"]]), MeasurementError, "line 2"),
        (changed(samples_ms=3.5), MeasurementError, "line 2"),
        (changed(samples_ms=[[0]]), MeasurementError, "line 2"),
        (changed(device="gone"), MeasurementError, "line 2"),
        (changed(architecture="gone"), MeasurementError, "line 2"),
    ],
)
def test_a_broken_line_is_named_by_its_number(line: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(f"{json.dumps(measurement().to_json())}\n{line}\n")
    lines = read_measurements(path)
    assert next(lines) == measurement()
    with pytest.raises(error, match=message):
        next(lines)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="hwnas measure"):
        list(read_measurements(tmp_path / "none.jsonl"))
