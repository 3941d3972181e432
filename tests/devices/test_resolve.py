from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwnas.core.device import Device
from hwnas.devices import resolve
from hwnas.devices.cpu import machine_name
from hwnas.devices.resolve import all_devices, check_precisions, find_device, measure_of
from hwnas.errors import ConfigError, DuplicatePluginError, UnknownPluginError

LOCAL = [
    "cpu",
    "cpu-aotinductor",
    "cpu-executorch",
    "cpu-litert",
    "cpu-openvino",
    "cpu-torch",
    "cpu-torch-compile",
    "cuda-gpu",
]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cpu", "cpu"), ("jetson", "jetson-nano"), ("jetson-nano", "jetson-nano"), ("jetson-tx2", "jetson-tx2")],
)
def test_names_and_aliases(name: str, expected: str) -> None:
    assert find_device(name).name == expected


def test_all_devices_are_sorted_and_complete() -> None:
    devices = all_devices()
    names = [device.name for device in devices]
    assert names == sorted(names)
    assert {"cpu", "jetson-nano", "jetson-tx2"} <= set(names)
    assert [device.name for device in devices if device.is_local] == LOCAL


@pytest.mark.parametrize(("name", "guess"), [("jetsn", "jetson"), ("CPU", "cpu"), ("jetson-nanoo", "jetson-nano")])
def test_unknown_device_names_the_nearest(name: str, guess: str) -> None:
    with pytest.raises(UnknownPluginError, match=f"no device named '{name}'; did you mean '{guess}'"):
        find_device(name)


@pytest.mark.parametrize(
    ("device", "asked", "expected"),
    [
        ("cpu", None, ("fp32", "int8")),
        ("cpu", [], ("fp32", "int8")),
        ("cpu", ["int8"], ("int8",)),
        ("cpu", ["int8", "fp32", "int8"], ("fp32", "int8")),
        ("jetson", None, ("fp32", "fp16")),
    ],
)
def test_precisions(device: str, asked: list[str] | None, expected: tuple[str, ...]) -> None:
    assert check_precisions(find_device(device), asked) == expected


@pytest.mark.parametrize(
    ("device", "asked", "message"),
    [
        ("jetson-tx2", ["int8"], "device 'jetson-tx2' does not run 'int8'; it runs: fp32"),
        ("cpu", ["fp32", "fp16"], "device 'cpu' does not run 'fp16'; it runs: fp32, int8"),
        ("cpu", ["fp23"], "unknown precision 'fp23'; did you mean 'fp32'"),
        ("cpu", ["xyz"], "unknown precision 'xyz'; known: fp32"),
    ],
)
def test_bad_precisions(device: str, asked: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_precisions(find_device(device), asked)


def make(name: str, *aliases: str) -> Device:
    return Device(name=name, title=name, kind="cpu", runtime="r", aliases=aliases)


@pytest.mark.parametrize("second", [make("b", "x"), make("b", "a"), make("b", "y", "x")])
def test_an_alias_has_one_owner(monkeypatch: pytest.MonkeyPatch, second: Device) -> None:
    devices = {"a": make("a", "x"), "b": second}
    monkeypatch.setattr(resolve, "plugin_names", lambda kind: sorted(devices))
    monkeypatch.setattr(resolve, "load_plugin", lambda kind, name: devices[name])
    with pytest.raises(DuplicatePluginError, match="is offered by 'a' and 'b'"):
        all_devices()


@pytest.mark.parametrize("plugin", ["text", make("other")])
def test_a_plugin_that_is_no_device_of_its_name(monkeypatch: pytest.MonkeyPatch, plugin: object) -> None:
    monkeypatch.setattr(resolve, "plugin_names", lambda kind: ["a"])
    monkeypatch.setattr(resolve, "load_plugin", lambda kind, name: plugin)
    with pytest.raises(ConfigError, match="plugin 'a' must be a Device of that name"):
        find_device("a")


@pytest.mark.parametrize(
    ("content", "expected"),
    [("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n", "Some CPU @ 2 GHz"), ("processor : 0\n", None), (None, None)],
)
def test_machine_name(tmp_path: Path, content: str | None, expected: str | None) -> None:
    path = tmp_path / "cpuinfo"
    if content is not None:
        path.write_text(content)
    name = machine_name(path)
    assert name == expected if expected else name


@pytest.mark.parametrize("card", sorted((Path(__file__).parents[2] / "latency_models").glob("*/*/card.json")), ids=str)
def test_a_device_and_its_cards_name_the_same_runtime(card: Path) -> None:
    raw = json.loads(card.read_text())
    device = find_device(raw["device"])
    assert raw["runtime"] == device.runtime
    assert raw["precision"] in device.precisions


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cpu", "latency in ms at batch 1"),
        ("gtx-1080-ti-b32", "latency in ms at batch 32"),
        ("tpuv3", "ms per image at full throughput (not a latency)"),
        ("a-board-of-old", "latency in ms"),
    ],
)
def test_milliseconds_say_what_they_are(name: str, words: str) -> None:
    assert measure_of(name) == words


def test_what_a_runtime_can_do_beyond_is_searched_by_those_who_ask() -> None:
    litert = find_device("cpu-litert")
    assert check_precisions(litert, None) == litert.precisions == ("fp32", "int8")
    assert check_precisions(litert, ["int8-dynamic", "fp32"]) == ("fp32", "int8-dynamic")
    with pytest.raises(ConfigError, match=r"does not run 'int8-weights'; it runs: fp32\. "):
        check_precisions(find_device("pixel-3"), ["int8-weights"])  # predicted, never measured
