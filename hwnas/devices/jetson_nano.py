"""NVIDIA Jetson Nano, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

# It is "jetson" because its published measurements are the best of the Jetsons: two precisions, and held-out networks
# are predicted most closely.
DEVICE = Device(
    name="jetson-nano",
    title="NVIDIA Jetson Nano (128-core Maxwell GPU)",
    kind="gpu",
    runtime="not-stated",
    precisions=("fp32", "fp16"),
    channel_multiple=8,
    memory_bytes=4 * 1024**3,
    reach="none",
    sensors=("ina3221",),
    power_modes=("MAXN", "5W"),
    aliases=("jetson",),
    note="predicted from published measurements (EAGLE); the source names neither runtime version nor power mode",
)
