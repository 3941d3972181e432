"""Intel Xeon Silver 4114, predicted from published measurements."""

from __future__ import annotations

from hwnas.core.device import Device

__all__ = ["DEVICE"]

DEVICE = Device(
    name="xeon-silver-4114",
    title="Intel Xeon Silver 4114",
    kind="cpu",
    runtime="not-stated",
    precisions=("fp32",),
    channel_multiple=8,
    note=(
        "predicted from published measurements (HELP, end to end); the source names neither framework, version nor"
        " threads"
    ),
)
