"""Values of several devices, and how they are written: for one device as they were before there were several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["folder_of", "read_each", "write_each"]

T = TypeVar("T")


def write_each(values: Mapping[str, T]) -> T | dict[str, T]:
    """The value alone if there is one device, else device -> value."""
    return dict(values) if len(values) > 1 else next(iter(values.values()))


def read_each(raw: Any, devices: Sequence[str]) -> dict[str, Any]:
    """The inverse of `write_each`: device -> value."""
    return {devices[0]: raw} if len(devices) == 1 else {device: raw[device] for device in devices}


def folder_of(folder: Path, device: str, devices: Sequence[str]) -> Path:
    """Where what belongs to a device is kept: the folder itself if there is one device, else a part of it."""
    return folder if len(devices) == 1 else folder / device
