"""Google Edge TPU (Coral), predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="edgetpu",
    title="Google Edge TPU (Coral)",
    kind="asic",
    runtime="edgetpu",
    precisions=("int8",),
    channel_multiple=8,
    aliases=("edge-tpu", "coral"),
    note="predicted from published measurements (EAGLE); the source names no compiler version",
)
