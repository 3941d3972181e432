from __future__ import annotations

from typing import Any

import pytest

from hwnas.core.device import DEVICE_KINDS, Device
from hwnas.errors import ConfigError


@pytest.mark.parametrize("kind", DEVICE_KINDS)
@pytest.mark.parametrize(
    ("reach", "local", "reached"),
    [("local", True, True), ("ssh", False, True), ("adb", False, True), ("none", False, False)],
)
def test_reach(kind: str, reach: str, local: bool, reached: bool) -> None:
    device = Device(
        name="d", title="D", kind=kind, runtime="r", reach=reach, host={"ssh": "b", "adb": "adb:1"}.get(reach)
    )
    assert (device.is_local, device.can_be_measured) == (local, reached)


@pytest.mark.parametrize("host", ["board", "pi@192.168.1.7", "me@[fe80::1%eth0]", "user-1@my-board.local"])
def test_hosts(host: str) -> None:
    assert Device(name="d", title="D", kind="cpu", runtime="r", reach="ssh", host=host).host == host


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "toaster"}, "kind must be one of .* got 'toaster'"),
        ({"precisions": ("fp32", "int4")}, "unknown precisions"),
        ({"quantity": "speed"}, "quantity must be one of"),
        ({"batch": 0}, "batch >= 1"),
        ({"reach": "adb"}, "reach must be one of"),
        ({"reach": "ssh"}, "ssh with a host, adb with one as adb:SERIAL; got 'ssh' with host None"),
        ({"reach": "adb", "host": "b"}, "got 'adb' with host 'b'"),
        ({"reach": "ssh", "host": "adb:1"}, "got 'ssh' with host 'adb:1'"),
        ({"host": "board"}, "got 'none' with host 'board'"),
        ({"reach": "ssh", "host": "-oProxyCommand=x"}, "is no host for ssh; write it as user@board"),
        ({"reach": "ssh", "host": "a b"}, "is no host for ssh"),
        ({"reach": "ssh", "host": ""}, "is no host for ssh"),
    ],
)
def test_bad_devices(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Device(**{"name": "d", "title": "D", "kind": "cpu", "runtime": "r", **wrong})
