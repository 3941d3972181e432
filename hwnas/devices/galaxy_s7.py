"""Samsung Galaxy S7, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="galaxy-s7",
    title="Samsung Galaxy S7",
    kind="cpu",
    runtime="not-stated",
    precisions=("fp32",),
    channel_multiple=8,
    note=(
        "predicted from published measurements (HELP, end to end), which are whole milliseconds; runtime and "
        "threads not stated"
    ),
)
