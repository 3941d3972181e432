"""The NVIDIA GPU of this machine, with ONNX Runtime's CUDA provider."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="cuda-gpu",
    title="the NVIDIA GPU of this machine",
    kind="gpu",
    runtime="onnxruntime-cuda",
    precisions=("fp32", "fp16"),
    channel_multiple=8,
    reach="local",
    note="measured here: the first search calibrates its predictor; copies to and from the GPU are part of the latency",
)
