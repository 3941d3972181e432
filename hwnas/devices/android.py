"""An Android phone: what is known of it without a measurement."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="android",
    title="an Android phone, reached by ssh or adb",
    kind="cpu",
    runtime="litert",
    precisions=("fp32", "int8"),
    channel_multiple=8,
    memory_bytes=None,
    note="no published measurements: add yours with `hwnas device add --like android`; "
    "the phone needs a Python with LiteRT: a Linux with sshd such as Termux with proot-distro, "
    "or one that `adb shell` can start (--host adb:SERIAL --python PATH)",
)
