"""NVIDIA Jetson Orin Nano: what is known of it without a measurement."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="jetson-orin-nano",
    title="NVIDIA Jetson Orin Nano (1024-core Ampere GPU)",
    kind="gpu",
    runtime="onnxruntime-tensorrt",
    precisions=("fp32", "fp16"),
    channel_multiple=8,
    memory_bytes=8 * 1024**3,
    sensors=("ina3221",),
    power_modes=("15W", "7W", "25W", "MAXN_SUPER"),
    note="no published measurements: add yours with `hwnas device add --like jetson-orin-nano`",
)
