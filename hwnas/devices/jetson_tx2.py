"""NVIDIA Jetson TX2, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="jetson-tx2",
    title="NVIDIA Jetson TX2 (256-core Pascal GPU)",
    kind="gpu",
    runtime="tensorrt",
    precisions=("fp32",),
    channel_multiple=8,
    memory_bytes=8 * 1024**3,
    reach="none",
    sensors=("ina3221",),
    power_modes=("MAXN", "MAXQ", "MAXP_CORE_ALL", "MAXP_CORE_ARM", "MAXP_CORE_DENVER"),
    note="predicted from published measurements (HW-NAS-Bench: TensorRT by torch2trt); power mode not stated",
)
