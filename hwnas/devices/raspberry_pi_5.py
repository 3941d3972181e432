"""Raspberry Pi 5: what is known of it without a measurement."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="raspberry-pi-5",
    title="Raspberry Pi 5 (4 Cortex-A76)",
    kind="cpu",
    runtime="onnxruntime",
    precisions=("fp32", "int8"),
    channel_multiple=8,
    memory_bytes=None,
    note="no published measurements: add yours with `hwnas device add --like raspberry-pi-5`",
)
