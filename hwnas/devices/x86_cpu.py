"""An x86 computer elsewhere: what is known of it without a measurement."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="x86-cpu",
    title="an x86 server or laptop, reached by ssh",
    kind="cpu",
    runtime="onnxruntime",
    precisions=("fp32", "int8"),
    channel_multiple=8,
    memory_bytes=None,
    sensors=("rapl",),
    note="no published measurements: add yours with `hwnas device add --like x86-cpu`",
)
