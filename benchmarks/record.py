"""Write a benchmark's figures to benchmarks/results/<date>-<name>.json, with the machine they were taken on."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    packages = ("torch", "onnxruntime", "optuna", "numpy", "scikit-learn")
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def record(name: str, command: str, figures: dict[str, Any]) -> Path:
    """Write the figures and print them."""
    day = datetime.now(UTC).date().isoformat()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{day}-{name}.json"
    payload = {"schema": 1, "date": day, "command": command, "machine": machine(), **figures}
    path.write_text(json.dumps(payload, indent=2) + "\n")
    print(json.dumps(payload, indent=2))
    return path
