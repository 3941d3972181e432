"""This machine's CPU, a device for each runtime: what is fast in one is not so in another."""

from __future__ import annotations

import platform
from dataclasses import replace
from pathlib import Path

from hwnas.core.device import Device

__all__ = ["AOTINDUCTOR", "DEVICE", "EXECUTORCH", "LITERT", "OPENVINO", "TORCH", "TORCH_COMPILE", "machine_name"]

DEVICE = Device(
    name="cpu",
    title="the CPU of this machine",
    kind="cpu",
    runtime="onnxruntime",
    precisions=("fp32", "int8"),
    channel_multiple=8,
    reach="local",
    note="measured here: the first search calibrates its predictor on this machine",
)

EXECUTORCH = replace(
    DEVICE, name="cpu-executorch", title="the CPU of this machine, with ExecuTorch", runtime="executorch"
)
LITERT = replace(DEVICE, name="cpu-litert", title="the CPU of this machine, with LiteRT", runtime="litert")
OPENVINO = replace(DEVICE, name="cpu-openvino", title="the CPU of this machine, with OpenVINO", runtime="openvino")
TORCH = replace(
    DEVICE,
    name="cpu-torch",
    title="the CPU of this machine, with PyTorch, eager",
    runtime="torch",
    precisions=("fp32", "bf16"),
)
TORCH_COMPILE = replace(
    TORCH, name="cpu-torch-compile", title="the CPU of this machine, with torch.compile", runtime="torch-compile"
)
AOTINDUCTOR = replace(
    TORCH, name="cpu-aotinductor", title="the CPU of this machine, with AOTInductor", runtime="aotinductor"
)


def machine_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model name of this machine's CPU, or its architecture where the system does not tell."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine() or "unknown CPU"
