from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hwnas.core.device import Device
from hwnas.devices.own import config_dir, own_devices, remove_own_device, write_own_device
from hwnas.devices.resolve import all_devices, at_host, find_device
from hwnas.errors import ConfigError, DuplicatePluginError, HwnasError

PI = Device(
    name="my-pi", title="my-pi at pi@192.168.1.7", kind="cpu", runtime="onnxruntime", precisions=("fp32", "int8"),
    reach="ssh", host="pi@192.168.1.7", cpu_flags=("asimddp",), memory_bytes=4_000_000_000,
)  # fmt: skip


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HWNAS_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


def test_a_device_comes_back_as_it_was_written(config: Path) -> None:
    assert own_devices() == []
    path = write_own_device(PI)
    assert path == config / "devices" / "my-pi.json"
    assert own_devices() == [PI]
    assert find_device("my-pi") == PI
    assert PI.can_be_measured
    assert not PI.is_local
    assert remove_own_device("my-pi") == path
    assert own_devices() == []
    assert "my-pi" not in [device.name for device in all_devices()]


def test_where_the_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HWNAS_CONFIG")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x")
    assert config_dir() == Path("/x/hwnas")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert config_dir() == Path.home() / ".config" / "hwnas"


@pytest.mark.parametrize("name", ["", "../pi", "a/b", "Pi", "-pi", "x" * 64])
def test_names_that_are_none_for_a_file(name: str) -> None:
    with pytest.raises(ConfigError):
        remove_own_device(name)


def test_an_unknown_device_cannot_be_removed() -> None:
    write_own_device(PI)
    with pytest.raises(ConfigError, match="named 'my-pie'; yours: my-pi"):
        remove_own_device("my-pie")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "unknown keys colour; allowed: aliases"),
        ({"precisions": "fp32"}, "precisions must be a list of texts"),
        ({"precisions": [32]}, "precisions must be a list of texts"),
        ({"precisions": ["fp99"]}, "unknown precisions"),
        ({"kind": "toaster"}, "kind must be one of"),
        ({"host": "-oProxyCommand=evil"}, "is no host for ssh"),
        ({"host": "pi@board; reboot"}, "is no host for ssh"),
        ({"host": 7}, "mend or remove it"),
        ({"host": None}, "ssh with a host"),
        ({"reach": "pigeon"}, "reach must be one of"),
        ({"name": "other"}, "names the device 'other'"),
        ({"schema": 99}, "schema 99"),
    ],
)
def test_a_file_that_somebody_broke(config: Path, change: dict[str, Any], message: str) -> None:
    path = write_own_device(PI)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(HwnasError, match=message):
        own_devices()


def test_a_file_that_is_no_json(config: Path) -> None:
    write_own_device(PI).write_text("{")
    with pytest.raises(ConfigError, match="mend"):
        own_devices()


def test_a_device_of_ones_own_hides_none() -> None:
    write_own_device(Device(name="edgetpu", title="mine", kind="asic", runtime="onnxruntime", reach="ssh", host="b"))
    with pytest.raises(DuplicatePluginError, match="edgetpu"):
        all_devices()


def test_a_device_at_a_host() -> None:
    there = at_host(find_device("raspberry-pi-4"), "pi@board")
    assert (there.reach, there.host, there.name) == ("ssh", "pi@board", "raspberry-pi-4")
    with pytest.raises(ConfigError, match="hwnas device add NAME --host pi@board"):
        at_host(find_device("cpu"), "pi@board")
