"""Qualcomm Adreno 640 (Xiaomi Mi 9 GPU), predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="adreno-640",
    title="Qualcomm Adreno 640 (Xiaomi Mi 9 GPU)",
    kind="gpu",
    runtime="litert",
    precisions=("fp32",),
    channel_multiple=8,
    note="predicted from published measurements (nn-Meter data: TFLite 2.1 GPU delegate)",
)
