from __future__ import annotations

from typing import Any

import pytest

from hwnas.core.device import DEVICE_KINDS, Device
from hwnas.errors import ConfigError


@pytest.mark.parametrize("kind", DEVICE_KINDS)
@pytest.mark.parametrize(("reach", "local"), [("local", True), ("ssh", False), ("adb", False), ("none", False)])
def test_local(kind: str, reach: str, local: bool) -> None:
    assert Device(name="d", title="D", kind=kind, runtime="r", reach=reach).is_local is local


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "toaster"}, "kind must be one of .* got 'toaster'"),
        ({"precisions": ("fp32", "int4")}, "unknown precisions"),
        ({"quantity": "speed"}, "quantity must be one of"),
        ({"batch": 0}, "batch >= 1"),
    ],
)
def test_bad_devices(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Device(**{"name": "d", "title": "D", "kind": "cpu", "runtime": "r", **wrong})
