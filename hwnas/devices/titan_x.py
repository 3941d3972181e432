"""NVIDIA TITAN X at the batch sizes that were measured, predicted from published measurements."""

from __future__ import annotations

from dataclasses import replace

from hwnas.core.device import Device

__all__ = ["BATCH_1", "BATCH_32", "BATCH_256"]

BATCH_1 = Device(
    name="titan-x",
    title="NVIDIA TITAN X",
    kind="gpu",
    runtime="not-stated",
    precisions=("fp32",),
    batch=1,
    note=(
        "predicted from published measurements (HELP, end to end); the source names neither framework, version nor"
        " driver"
    ),
)
BATCH_32 = replace(BATCH_1, name="titan-x-b32", title="NVIDIA TITAN X, batch 32", batch=32)
BATCH_256 = replace(BATCH_1, name="titan-x-b256", title="NVIDIA TITAN X, batch 256", batch=256)
