"""Essential PH-1, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="essential-ph-1",
    title="Essential PH-1",
    kind="cpu",
    runtime="not-stated",
    precisions=("fp32",),
    channel_multiple=8,
    note=(
        "predicted from published measurements (HELP, end to end), which are whole milliseconds; runtime and "
        "threads not stated"
    ),
)
