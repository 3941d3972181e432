from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from hwnas import plugins
from hwnas.core.device import Device
from hwnas.errors import DuplicatePluginError, UnknownPluginError
from hwnas.plugins import load_plugin, plugin_names


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("device", {"cpu", "jetson-nano", "jetson-tx2"}),
        ("task", {"cifar10", "digits", "images"}),
        ("space", {"mobilenet", "nasbench201"}),
        ("runtime", {"onnxruntime"}),
    ],
)
def test_built_ins_come_by_the_same_route(kind: str, names: set[str]) -> None:
    found = plugin_names(kind)
    assert names <= set(found)
    assert found == sorted(found)


@pytest.mark.parametrize("kind", ["device", "task"])
def test_every_plugin_loads(kind: str) -> None:
    for name in plugin_names(kind):
        plugin = load_plugin(kind, name)
        assert isinstance(plugin, Device) or callable(plugin)


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match="did you mean 'digits'"):
        load_plugin("task", "digit")


def points(*values: str) -> tuple[EntryPoint, ...]:
    return tuple(EntryPoint("x", value, "hwnas.devices") for value in values)


def test_two_offers_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_points", lambda kind: points("json:dumps", "json:loads"))
    with pytest.raises(DuplicatePluginError, match=r"json:dumps.*json:loads"):
        load_plugin("device", "x")


def test_one_offer_listed_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_points", lambda kind: points("json:dumps", "json:dumps"))
    assert load_plugin("device", "x")([1]) == "[1]"
