"""Google Cloud TPU v3, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="tpuv3",
    title="Google Cloud TPU v3",
    kind="tpu",
    runtime="not-stated",
    precisions=("fp32",),
    channel_multiple=8,
    quantity="throughput",
    note=(
        "ms per image at full throughput (1000 / images per second), which is not a latency; predicted from "
        "published measurements (Accel-NASBench), whose batch size is not stated; the table saturates near 1,800 "
        "images/s, where the input pipeline is the limit"
    ),
)
