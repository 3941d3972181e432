"""Eyeriss (ASIC), predicted from a published model of the chip."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="eyeriss",
    title="Eyeriss (ASIC)",
    kind="asic",
    runtime="model",
    precisions=("fp32",),
    channel_multiple=8,
    note="modelled, not measured: predicted from a published analytical model of the chip (HW-NAS-Bench)",
)
