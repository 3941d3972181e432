"""Arm Cortex-A76 (Pixel 4 CPU), predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="cortex-a76",
    title="Arm Cortex-A76 (Pixel 4 CPU)",
    kind="cpu",
    runtime="litert",
    precisions=("fp32",),
    channel_multiple=8,
    note="predicted from published measurements (nn-Meter data: TFLite 2.1; threads not stated)",
)
