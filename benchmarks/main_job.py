"""`hwnas search --device jetson` with all defaults: wall time, peak memory, trials, models on the front.

python benchmarks/main_job.py [--device jetson]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="jetson")
    device = parser.parse_args().device
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        start = time.monotonic()
        command = [sys.executable, "-c", "from hwnas.cli.main import main; main()", "search", "--device", device]
        subprocess.run([*command, "--out", str(run)], check=True)
        wall_s = time.monotonic() - start
        # ru_maxrss of children is the largest of them, in KiB.
        peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        front = json.loads((run / "front.json").read_text())
        trials = len((run / "trials.jsonl").read_text().splitlines())
    models = [
        {
            "accuracy": model["accuracy"]["value"],
            "predicted_ms": next(iter(model["latency_ms"].values()))["predicted"],
            "measured_ms": (next(iter(model["latency_ms"].values()))["measured"] or {}).get("value"),
            "in_domain": next(iter(model["latency_ms"].values()))["in_domain"],
        }
        for model in front["models"]
    ]
    figures = {
        "goal": {"wall_s": 300, "peak_gib": 4, "trials": 300, "models": 6},
        "wall_s": round(wall_s, 1),
        "peak_gib": round(peak_mib / 1024, 2),
        "trials": trials,
        "models": len(models),
        "front": models,
    }
    record(f"main-job-{device}", f"hwnas search --device {device}", figures)


if __name__ == "__main__":
    main()
