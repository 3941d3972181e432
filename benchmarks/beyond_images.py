"""Spoken words and texts on this machine: a timed search each, and what its front promised and measured.

    python benchmarks/beyond_images.py --keywords DIR --text DIR --time 30m --out RUNS

Each search begins with its own calibration, unless this machine was calibrated for the space before.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from record import record

import hwnas
from hwnas.cli.duration import parse_duration
from hwnas.core.front import FrontModel
from hwnas.store import read_json

DEVICE = "cpu"


def row(model: FrontModel) -> dict[str, Any]:
    latency = model.latency[DEVICE]
    measured = latency.measured
    return {
        "id": model.id,
        "precision": model.compression.precision,
        "accuracy": model.accuracy,
        "predicted_ms": latency.predicted,
        "low_ms": latency.low,
        "high_ms": latency.high,
        "measured_ms": None if measured is None else measured.value,
        "stable": None if measured is None else measured.stable,
        "size_bytes": model.size_bytes,
    }


def search(task: str, data: Path, limit_s: float, out: Path) -> dict[str, Any]:
    """Search, and put the front in numbers."""
    start = time.monotonic()
    result = hwnas.search(device=DEVICE, task=task, data=data, time_s=limit_s, out=out / task)
    rows = [row(model) for model in result.front]
    measured = [found for found in rows if found["measured_ms"] is not None]
    kept = [found for found in measured if found["low_ms"] * 0.95 <= found["measured_ms"] <= found["high_ms"] * 1.05]
    errors = sorted(abs(found["predicted_ms"] / found["measured_ms"] - 1) for found in measured)
    first = read_json(out / task / "models" / rows[0]["id"] / "manifest.json") if rows else {}
    return {
        "data": first.get("data"),
        "seconds": round(time.monotonic() - start, 1),
        "models": rows,
        "best_accuracy": max((found["accuracy"] for found in rows), default=None),
        "measured": len(measured),
        "as_promised": len(kept),
        "median_error": errors[len(errors) // 2] if errors else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keywords", type=Path, help="data of task keywords")
    parser.add_argument("--text", type=Path, help="data of task text")
    parser.add_argument("--time", default="30m")
    parser.add_argument("--out", type=Path, default=Path("runs/beyond-images"))
    args = parser.parse_args()
    limit_s = parse_duration(args.time)
    given = {"keywords": args.keywords, "text": args.text}
    figures = {task: search(task, data, limit_s, args.out) for task, data in given.items() if data is not None}
    command = f"python benchmarks/beyond_images.py --time {args.time}"
    record("beyond-images", command + "".join(f" --{task} DIR" for task in figures), {"limit_s": limit_s, **figures})


if __name__ == "__main__":
    main()
