from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import DataError, HwnasError, InvalidArchitectureError, MeasurementError
from hwnas.latency.recorded import architecture_of, measurements_from_table
from hwnas.plugins import load_plugin

DEVICE = load_plugin("device", "jetson-nano")
SPACE = load_plugin("space", "nasbench201")
EDGES = [choice.label for choice in SPACE.choices]


def _write(path: Path, rows: list[str], header: str = ",".join([*EDGES, "latency_ms"])) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_row_becomes_a_record(tmp_path: Path) -> None:
    cells = ",".join(["nor_conv_3x3"] * 6)
    table = _write(tmp_path / "t.csv", [f"{cells},12.5", "3,3,3,3,3,1,7"])
    first, second = measurements_from_table(table, SPACE, DEVICE, precision="fp16", input_shape=(3, 32, 32))
    assert (first.samples_ms, first.device, first.precision) == (((12.5,),), "jetson-nano", "fp16")
    assert (first.stable, first.runtime_version, first.input_shape) == (None, None, (3, 32, 32))
    # Numbers are those of the benchmark's own tables.
    assert dict(second.candidate.architecture) == dict.fromkeys(EDGES[:5], "nor_conv_3x3") | {EDGES[5]: "skip_connect"}


def test_cells_may_be_written_in_several_ways() -> None:
    mobilenet = load_plugin("space", "mobilenet")
    row = {choice.label: str(choice.options[-1]) for choice in mobilenet.choices}
    assert architecture_of(mobilenet, row) == mobilenet.largest()


@pytest.mark.parametrize(
    ("row", "error", "words"),
    [
        ("0,1,2,3,4,9,5", InvalidArchitectureError, "row 1"),
        ("0,1,2,3,4,1,-5", MeasurementError, "row 1: latency_ms is -5"),
        ("0,1,2,3,4,1,0", MeasurementError, "allowed: ms above 0"),
        ("0,1,2,3,4,1,nan", MeasurementError, "row 1"),
        ("0,1,2,3,4,1,fast", MeasurementError, "'fast'"),
        ("0,1,2,3,4,1,", DataError, "row 1"),
        ("0,1,2,3,4", DataError, "row 1"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, error: type[HwnasError], words: str) -> None:
    table = _write(tmp_path / "t.csv", [row])
    with pytest.raises(error, match=words):
        measurements_from_table(table, SPACE, DEVICE, precision="fp32", input_shape=(3, 32, 32))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    table = _write(tmp_path / "t.csv", ["0,1,2,3,4,1,5"])
    with pytest.raises(DataError, match="'ms'"):
        measurements_from_table(table, SPACE, DEVICE, column="ms", precision="fp32", input_shape=(3, 32, 32))


def test_energies_are_read_where_there_are_any(tmp_path: Path) -> None:
    header = ",".join([*EDGES, "latency_ms", "mj"])
    table = _write(tmp_path / "t.csv", ["3,3,3,3,3,1,7,2.5", "3,3,3,3,3,3,8,"], header)
    found = measurements_from_table(table, SPACE, DEVICE, precision="fp16", input_shape=None, energy_column="mj")
    assert [m.energy_mj for m in found] == [2.5, None]


@pytest.mark.parametrize(
    ("cell", "column", "error", "words"),
    [
        ("0", "mj", MeasurementError, "row 1: mj is 0, allowed: mJ above 0"),
        ("much", "mj", MeasurementError, "row 1: mj is 'much', allowed: mJ above 0"),
        ("1", "joules", DataError, "no value in a column 'joules'; name the column of mJ with --energy-column"),
        ("", "mj", DataError, "no value in a column 'mj'"),
    ],
)
def test_bad_energies(tmp_path: Path, cell: str, column: str, error: type[HwnasError], words: str) -> None:
    table = _write(tmp_path / "t.csv", [f"3,3,3,3,3,1,7,{cell}"], ",".join([*EDGES, "latency_ms", "mj"]))
    with pytest.raises(error, match=words):
        measurements_from_table(table, SPACE, DEVICE, precision="fp16", input_shape=None, energy_column=column)
