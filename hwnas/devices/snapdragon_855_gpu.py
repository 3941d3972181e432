"""Qualcomm Snapdragon 855, Adreno 640 GPU, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="snapdragon-855-gpu",
    title="Qualcomm Snapdragon 855, Adreno 640 GPU",
    kind="gpu",
    runtime="not-stated",
    precisions=("int8",),
    channel_multiple=8,
    note="predicted from published measurements (EAGLE); the source names no runtime version",
)
