"""`hwnas doctor`."""

from __future__ import annotations

import os
import platform
import re
import sys
from typing import Any

import typer

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table

__all__ = ["doctor"]


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed and what is missing."""
    from hwnas.errors import MissingDependencyError

    found: dict[str, Any] = {"packages": _packages(), "machine": _machine(), "calibrated": _calibrated()}
    if as_json:
        print_json(found)
    else:
        _show(found)
    if missing := [p["name"] for p in found["packages"] if p["version"] is None and p["extra"] is None]:
        raise MissingDependencyError(f"hwnas needs {', '.join(missing)}; run: pip install {' '.join(missing)}")


def _packages() -> list[dict[str, Any]]:
    """Every package that hwnas names: those it needs first, then the extras."""
    from importlib.metadata import PackageNotFoundError, requires, version

    rows = []
    for requirement in requires("hwnas") or []:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = None
        install = f"pip install 'hwnas[{extra[1]}]'" if extra else f"pip install {name}"
        rows.append(
            {
                "name": name,
                "version": installed,
                "extra": extra[1] if extra else None,
                "install": None if installed else install,
            }
        )
    return rows


def _machine() -> dict[str, Any]:
    from hwnas.devices.cpu import machine_name
    from hwnas.runtimes.cpu_flags import EXACT_INT8_FLAGS, needs_reduced_range, read_cpu_flags
    from hwnas.store import cache_dir

    flags = read_cpu_flags()
    reduced = needs_reduced_range(flags)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpu": machine_name(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "int8_dot_product": sorted(flags & EXACT_INT8_FLAGS),
        "int8": (
            "no dot-product instructions (VNNI): int8 weights keep 7 bits, so that sums do not saturate"
            if reduced
            else "dot-product instructions (VNNI): int8 weights keep all 8 bits"
        ),
        "gpu": _gpu(),
        "cache": str(cache_dir()),
    }


def _gpu() -> str | None:
    try:
        import torch
    except (ImportError, OSError):  # OSError: a library of a broken installation
        return None
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def _calibrated() -> list[dict[str, Any]]:
    from hwnas.devices.resolve import all_devices
    from hwnas.latency.library import cards

    local = [card for device in all_devices() if device.is_local for card in cards(device.name)]
    return [
        {"id": card.id, "precision": card.precision, "mape": card.mape, "spaces": list(card.spaces), "date": card.date}
        for card in local
    ]


def _show(found: dict[str, Any]) -> None:
    from hwnas.viz.text import percent

    print_table(
        "packages",
        ("package", "version", "extra", "how to get it"),
        ((p["name"], p["version"] or "missing", p["extra"] or "", p["install"] or "") for p in found["packages"]),
    )
    for key, value in found["machine"].items():
        text = ", ".join(value) or "none" if isinstance(value, list) else value
        typer.echo(f"{key.replace('_', ' ')}: {'none' if text is None else text}")
    if not found["calibrated"]:
        typer.echo("calibrated: nothing yet; the first search with --device cpu does it")
    for card in found["calibrated"]:
        typer.echo(f"calibrated: {card['id']}, {', '.join(card['spaces'])}, error {percent(card['mape'], 1)}")
