"""Raspberry Pi 4, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="raspberry-pi-4",
    title="Raspberry Pi 4",
    kind="cpu",
    runtime="litert",
    precisions=("fp32",),
    channel_multiple=8,
    aliases=("raspi4",),
    note="predicted from published measurements (HW-NAS-Bench: TFLite); its version and the threads are not stated",
)
