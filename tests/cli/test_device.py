from __future__ import annotations

import json
from pathlib import Path

import pytest
from loopback import Loopback
from typer.testing import CliRunner

from hwnas.cli.main import app
from hwnas.core.measurement import read_measurements
from hwnas.devices.own import own_devices
from hwnas.devices.resolve import find_device
from hwnas.runtimes.cpu_flags import read_cpu_flags

ADD = ["device", "add", "my-pi", "--host", "board", "--python"]


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    return result.output


def test_a_board_from_add_to_predict(loopback: Loopback, tmp_path: Path) -> None:
    said = invoke(*ADD, loopback.device.python)
    assert "runtime: onnxruntime" in said
    assert "next: hwnas search --device my-pi" in said
    assert frozenset(find_device("my-pi").cpu_flags) == read_cpu_flags()
    assert "my-pi" in invoke("devices")

    out = tmp_path / "pi.jsonl"
    space = ["--device", "my-pi", "--space", "mobilenet"]
    invoke("measure", *space, "--samples", "4", "--seconds", "0.2", "--precision", "fp32", "--out", str(out))
    measured = list(read_measurements(out))
    assert [record.device for record in measured] == ["my-pi"] * 4

    assert "my-pi" in invoke("calibrate", "--device", "my-pi", "--measurements", str(out))
    assert "removed" in invoke("device", "remove", "my-pi")
    assert own_devices() == []


def test_json(loopback: Loopback) -> None:
    found = json.loads(invoke(*ADD, loopback.device.python, "--json"))
    assert found["found"]["runtime"] == "onnxruntime"
    assert Path(found["file"]).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["device", "add", "edgetpu", "--host", "b"], "choose another name, such as my-edgetpu"),
        (["device", "add", "Pi", "--host", "127.0.0.1"], ""),
        (["device", "add", "pi", "--host", "b", "--runtime", "abacus"], "allowed: executorch, onnxruntime, openvino"),
        (["device", "add", "pi", "--host=-oProxyCommand=true"], "is no host for ssh"),
        (["device", "remove", "pi"], "no device of your own is named 'pi'; yours: none"),
        (["measure", "--device", "cpu", "--space", "mobilenet", "--samples", "1", "--host", "b"], "hwnas device add"),
    ],
)
def test_refused(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_SSH_COMMAND", "false")
    assert message in refused(*arguments)
    assert own_devices() == []
