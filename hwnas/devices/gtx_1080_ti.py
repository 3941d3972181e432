"""NVIDIA GeForce GTX 1080 Ti at the batch sizes that were measured, predicted from published measurements."""

from __future__ import annotations

from dataclasses import replace

from hwnas.core.device import Device

__all__ = ["BATCH_1", "BATCH_32", "BATCH_64", "BATCH_256"]

BATCH_1 = Device(
    name="gtx-1080-ti",
    title="NVIDIA GeForce GTX 1080 Ti",
    kind="gpu",
    runtime="not-stated",
    precisions=("fp32",),
    batch=1,
    note=(
        "predicted from published measurements (HELP, end to end); the source names neither framework, version nor"
        " driver"
    ),
)
BATCH_32 = replace(BATCH_1, name="gtx-1080-ti-b32", title="NVIDIA GeForce GTX 1080 Ti, batch 32", batch=32)
BATCH_64 = replace(BATCH_1, name="gtx-1080-ti-b64", title="NVIDIA GeForce GTX 1080 Ti, batch 64", batch=64)
BATCH_256 = replace(BATCH_1, name="gtx-1080-ti-b256", title="NVIDIA GeForce GTX 1080 Ti, batch 256", batch=256)
