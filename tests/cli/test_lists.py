from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.core.measurement import read_measurements

RUNNER = CliRunner()


def rows(*arguments: str) -> Any:
    found = RUNNER.invoke(app, [*arguments, "--json"])
    assert found.exit_code == 0, found.stderr
    return json.loads(found.stdout)


def test_spaces() -> None:
    spaces = {row["name"]: row for row in rows("spaces")}
    assert spaces["nasbench201"]["architectures"] == 5**6
    assert spaces["nasbench201"]["input_shape"] == [3, 32, 32]
    assert spaces["mobilenet"]["architectures"] > 1e9
    assert all(row["weight_shared"] for row in spaces.values())
    inputs = {name: row["input"] for name, row in spaces.items()}
    assert inputs["nasbench201"] == "3 x 32 x 32"
    found = (inputs["mobilenet"], inputs["ds-cnn"], inputs["tiny-transformer"])
    assert found == ("any image", "any sound", "any text")


def test_tasks() -> None:
    tasks = {row["name"]: row["about"] for row in rows("tasks")}
    assert set(tasks) >= {"cifar10", "digits", "images", "keywords", "text"}
    assert all(tasks.values())


def test_runtimes() -> None:
    (runtime,) = [row for row in rows("runtimes") if row["name"] == "onnxruntime"]
    assert runtime["version"]
    assert {"fp32", "int8"} <= set(runtime["precisions"])
    assert runtime["suffix"] == ".onnx"


def test_devices() -> None:
    devices = {row["name"]: row for row in rows("devices")}
    assert set(devices) >= {"cpu", "jetson-nano", "jetson-tx2"}
    assert devices["cpu"]["data"] in ("calibrated on first use", "measured")
    assert "jetson" in devices["jetson-nano"]["aliases"]
    for name in ("jetson-nano", "jetson-tx2"):
        assert devices[name]["data"] == "measured"
        for predictor in devices[name]["predictors"]:
            assert 0 < predictor["mape"] < 1
            assert predictor["source"]
            assert predictor["spaces"]


def test_doctor() -> None:
    found = rows("doctor")
    packages = {row["name"]: row for row in found["packages"]}
    assert packages["torch"]["version"]
    assert packages["torch"]["install"] is None
    assert packages["pytest"]["extra"] == "dev"
    assert found["machine"]["usable_cores"] >= 1
    assert "int8 weights keep" in found["machine"]["int8"]


@pytest.mark.parametrize("command", ["devices", "doctor"])
def test_long_lists_as_tables(command: str) -> None:
    assert RUNNER.invoke(app, [command]).exit_code == 0


@pytest.mark.parametrize("command", ["spaces", "tasks", "runtimes"])
def test_lists_as_tables(command: str) -> None:
    found = RUNNER.invoke(app, [command])
    assert found.exit_code == 0
    assert not found.stdout.startswith("[")


def test_measure_adds_to_a_file_of_measurements(tmp_path: Path) -> None:
    out = tmp_path / "m.jsonl"
    arguments = [
        *("measure", "--device", "cpu", "--space", "mobilenet", "--samples", "1", "--precision", "fp32"),
        *("--seconds", "0.1", "--out", str(out)),
    ]
    for times in (1, 2):
        found = RUNNER.invoke(app, arguments)
        assert found.exit_code == 0, found.stderr
        assert f"which has {times}" in found.stdout
    first, second = read_measurements(out)
    assert first.candidate == second.candidate
    assert (first.device, first.runtime, first.threads) == ("cpu", "onnxruntime", 1)
    assert first.input_shape is not None
