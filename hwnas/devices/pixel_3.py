"""Google Pixel 3, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="pixel-3",
    title="Google Pixel 3",
    kind="cpu",
    runtime="litert",
    precisions=("fp32",),
    channel_multiple=8,
    note="predicted from published measurements (HW-NAS-Bench: TFLite); its version and the threads are not stated",
)
