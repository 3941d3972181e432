"""What a second device costs: writes benchmarks/results/<date>-two-devices.json.

    python benchmarks/search/two_devices.py [--devices jetson-nano jetson-tx2] [--space nasbench201] [--trials 100]
        [--seeds 2]

A search for the first device, one for the second, and one for both, whole: supernet, evaluations, finishing and the
front. Compared are seconds of CPU time, so that a busy machine changes little; the goal is at most 1.15 times one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

HWNAS = [sys.executable, "-c", "from hwnas.cli.main import main; main()"]
GOAL = 1.15


def cpu_s() -> float:
    """Of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def search(devices: list[str], options: list[str], scratch: Path) -> dict[str, Any]:
    """One whole search."""
    run, before = scratch / "-".join(devices), cpu_s()
    targets = [word for device in devices for word in ("--device", device)]
    subprocess.run(
        [*HWNAS, "search", *targets, *options, "--out", str(run)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "HWNAS_CACHE": str(scratch / "cache")},
    )  # fmt: skip
    front = json.loads((run / "front.json").read_text())
    return {"cpu_s": round(cpu_s() - before, 1), "models": len(front["models"]), "hypervolume": front["hypervolume"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", nargs=2, default=["jetson-nano", "jetson-tx2"])
    parser.add_argument("--space", default="nasbench201")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    first, second = args.devices
    rows = []
    for seed in range(args.seeds):
        options = ["--space", args.space, "--precision", args.precision, "--trials", str(args.trials)]
        with tempfile.TemporaryDirectory() as scratch:
            each = {
                "+".join(devices): search(devices, [*options, "--seed", str(seed)], Path(scratch))
                for devices in ([first], [second], [first, second])
            }
        alone = [each[first]["cpu_s"], each[second]["cpu_s"]]
        both = each[f"{first}+{second}"]["cpu_s"]
        rows.append({"seed": seed, **each, "ratio": round(both / float(np.mean(alone)), 3)})
        print(rows[-1], flush=True)
    record(
        "two-devices",
        "python benchmarks/search/two_devices.py",
        {"goal": GOAL, "space": args.space, "trials": args.trials, "rows": rows},
    )


if __name__ == "__main__":
    main()
