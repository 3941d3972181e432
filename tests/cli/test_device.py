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
from hwnas.store import read_front

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


@pytest.mark.slow
def test_a_search_on_a_board_ends_with_measured_models_that_keep_their_promise(
    loopback: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwnas.search.setup.CALIBRATION_S", 20.0)
    invoke(*ADD, loopback.device.python)
    run = str(tmp_path / "run")
    said = invoke("search", "--device", "my-pi", "--trials", "8", "--time", "40s", "--precision", "fp32", "--out", run)
    assert "calibrate my-pi" in said
    models = read_front(Path(run)).models
    assert models
    assert all(model.latency["my-pi"].measured for model in models)
    checked = json.loads(CliRunner().invoke(app, ["verify", run, "--json"]).stdout)
    assert {check["id"] for check in checked} == {model.id for model in models}
    assert all("could not be measured" not in check["reason"] for check in checked)


def test_a_board_like_one_that_is_known(loopback: Loopback) -> None:
    invoke(*ADD, loopback.device.python, "--like", "x86-cpu")
    mine, known = find_device("my-pi"), find_device("x86-cpu")
    assert (mine.kind, mine.runtime, mine.precisions, mine.sensors) == (
        "cpu",
        "onnxruntime",
        ("fp32", "int8"),
        ("rapl",),
    )
    assert (known.reach, mine.reach) == ("none", "ssh")
    assert "is a device that hwnas has already" in refused("device", "add", "x86-cpu", "--host", "board")


def test_json(loopback: Loopback) -> None:
    found = json.loads(invoke(*ADD, loopback.device.python, "--json"))
    assert found["found"]["runtime"] == "onnxruntime"
    assert Path(found["file"]).exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["device", "add", "nano", "--host", "b", "--like", "jetson-nano"], "'not-stated' cannot be timed on a board"),
        (["device", "add", "pi", "--host", "b", "--like", "rasp"], "no device named 'rasp'"),
        (["search", "--device", "raspberry-pi-5"], "hwnas device add my-raspberry-pi-5 --like raspberry-pi-5"),
        (["search", "--device", "cuda-gpu"], "its onnxruntime has no CUDAExecutionProvider"),
        (["measure", "--device", "jetson-nano", "--space", "fbnet", "--samples", "1", "--host", "b"], "--runtime R"),
        (["device", "add", "edgetpu", "--host", "b"], "choose another name, such as my-edgetpu"),
        (["device", "add", "Pi", "--host", "127.0.0.1"], ""),
        (
            ["device", "add", "pi", "--host", "b", "--runtime", "abacus"],
            "--runtime takes: executorch, litert, onnx",
        ),
        (["device", "add", "pi", "--host=-oProxyCommand=true"], "is no host for ssh"),
        (["device", "remove", "pi"], "no device of your own is named 'pi'; yours: none"),
        (["measure", "--device", "cpu", "--space", "mobilenet", "--samples", "1", "--host", "b"], "hwnas device add"),
    ],
)
def test_refused(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_SSH_COMMAND", "false")
    assert message in refused(*arguments)
    assert own_devices() == []
