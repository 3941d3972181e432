"""AMD Xilinx ZCU102 (Zynq UltraScale+ FPGA), predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="zcu102",
    title="AMD Xilinx ZCU102 (Zynq UltraScale+ FPGA)",
    kind="fpga",
    runtime="vitis-ai",
    precisions=("int8",),
    channel_multiple=8,
    note="predicted from published measurements (Accel-NASBench: DPU); tool version not stated",
)
