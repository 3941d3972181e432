"""Intel Xeon Gold 6240, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="xeon-gold-6240",
    title="Intel Xeon Gold 6240",
    kind="cpu",
    runtime="not-stated",
    precisions=("fp32",),
    channel_multiple=8,
    note=(
        "predicted from published measurements (HELP, end to end); the source names neither framework, version nor"
        " threads"
    ),
)
