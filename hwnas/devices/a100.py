"""NVIDIA A100, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="a100",
    title="NVIDIA A100",
    kind="gpu",
    runtime="not-stated",
    precisions=("fp32",),
    channel_multiple=8,
    quantity="throughput",
    note=(
        "ms per image at full throughput (1000 / images per second), which is not a latency; predicted from "
        "published measurements (Accel-NASBench), whose batch size is not stated"
    ),
)
