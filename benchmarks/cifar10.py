"""CIFAR-10 on this machine: a timed search beside the fixed middle architecture scaled by width, trained as long.

    python benchmarks/cifar10.py --data DIR --time 40m --out RUN

The baseline gets the search's time, shared equally by its widths; its files are exported, checked and measured alike.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from record import record

from hwnas.cli.duration import parse_duration
from hwnas.compress.distill import fine_tune
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.pareto import hypervolume_2d
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.export.bundle import evaluate_file, export_bundle
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.plugins import load_plugin
from hwnas.runtimes.cpu_flags import read_cpu_flags
from hwnas.store import read_front
from hwnas.trace import checked_build


@dataclass(frozen=True)
class Width:
    """A width of the fixed middle architecture: 0 the narrowest of the space, 2 its widest."""

    index: int

    def architecture(self, space: SearchSpace) -> Architecture:
        values = {choice.label: choice.options[len(choice.options) // 2] for choice in space.choices}
        for choice in space.choices:
            if choice.label.endswith(".width"):
                place = round(self.index / 2 * (len(choice.options) - 1))
                values[choice.label] = choice.options[place]
        return space.architecture(values)


def baseline(task: Task, limit_s: float, folder: Path) -> list[dict[str, float]]:
    """Train, export and measure the fixed architecture at three widths."""
    space, runtime = load_plugin("space", "mobilenet").for_task(task), load_plugin("runtime", "onnxruntime")()
    rows, items = [], []
    for width in (Width(0), Width(1), Width(2)):
        candidate, start = Candidate(width.architecture(space)), time.monotonic()
        torch.manual_seed(width.index)
        tuned = fine_tune(
            checked_build(space, candidate, task),
            task,
            epochs=200,
            lr=3e-3,
            batch_size=128,
            patience=200,
            stop_after_s=limit_s / 3,
        )
        manifest = export_bundle(
            tuned.model,
            candidate,
            task,
            runtime=runtime,
            precision="fp32",
            folder=folder,
            cpu_flags=read_cpu_flags(),
        )
        path = folder / manifest["artifact"]["path"]
        accuracy = evaluate_file(path, runtime, task.test, task.preprocessing, 1)
        rows.append({"accuracy": accuracy, "epochs": tuned.epochs, "train_s": round(time.monotonic() - start)})
        items.append(MeasureItem(candidate, path, "fp32", tuple(task.input_shape)))
        print(rows[-1], flush=True)
    measured = measure_files(items, device="cpu", runtime="onnxruntime", threads=1, seconds_per_model=2.5)
    for row, result in zip(rows, measured, strict=True):
        assert isinstance(result, Measurement)
        row["measured_ms"] = result.percentile_ms(10)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--time", default="40m")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not (args.out / "front.json").exists():
        command = [sys.executable, "-c", "from hwnas.cli.main import main; main()", "search", "--device", "cpu"]
        command += ["--task", "cifar10", "--data", str(args.data), "--time", args.time, "--out", str(args.out)]
        subprocess.run(command, check=True)
    front = read_front(args.out)
    searched = [
        {"accuracy": m.accuracy, "measured_ms": m.latency["cpu"].best_ms, "predicted_ms": m.latency["cpu"].predicted}
        for m in front.models
    ]
    task = load_plugin("task", "cifar10")(args.data, input_shape=None, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        fixed = baseline(task, parse_duration(args.time), Path(folder))
    # One reference point for both: a fifth slower than the slowest of all, and guessing.
    reference = np.array([1.2 * max(row["measured_ms"] for row in [*searched, *fixed]), 0.9])

    def area(rows: list[dict[str, float]]) -> float:
        return hypervolume_2d(np.array([(row["measured_ms"], 1 - row["accuracy"]) for row in rows]), reference)

    figures = {
        "time": args.time,
        "search": {
            "best_accuracy": max(r["accuracy"] for r in searched),
            "hypervolume": area(searched),
            "rows": searched,
        },
        "fixed_middle_by_width": {
            "best_accuracy": max(r["accuracy"] for r in fixed),
            "hypervolume": area(fixed),
            "rows": fixed,
        },
        "reference_point": reference.tolist(),
    }
    record("cifar10", f"python benchmarks/cifar10.py --data DIR --time {args.time} --out RUN", figures)


if __name__ == "__main__":
    main()
