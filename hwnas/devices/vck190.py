"""AMD Xilinx VCK190 (Versal AI Core), predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="vck190",
    title="AMD Xilinx VCK190 (Versal AI Core)",
    kind="fpga",
    runtime="vitis-ai",
    precisions=("int8",),
    channel_multiple=8,
    note="predicted from published measurements (Accel-NASBench: DPU); tool version not stated",
)
