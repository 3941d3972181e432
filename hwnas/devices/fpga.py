"""FPGA of HW-NAS-Bench, predicted from a published performance model."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="fpga",
    title="FPGA of HW-NAS-Bench",
    kind="fpga",
    runtime="model",
    precisions=("fp32",),
    channel_multiple=8,
    note="modelled, not measured: predicted from a published performance model (HW-NAS-Bench)",
)
