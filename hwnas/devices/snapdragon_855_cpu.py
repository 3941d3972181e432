"""Qualcomm Snapdragon 855, Kryo 485 CPU, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="snapdragon-855-cpu",
    title="Qualcomm Snapdragon 855, Kryo 485 CPU",
    kind="cpu",
    runtime="not-stated",
    precisions=("int8",),
    channel_multiple=8,
    note="predicted from published measurements (EAGLE); the source names neither runtime version nor threads",
)
