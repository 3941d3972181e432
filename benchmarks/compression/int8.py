"""int8 files beside their fp32 selves: writes benchmarks/results/<date>-int8.json.

    python benchmarks/compression/int8.py --data DIR [--train 150] [--aware 30] [--runtimes onnxruntime openvino ...]

Networks for CIFAR-10 (the middle of `mobilenet`, and residual networks of two widths), trained for so many seconds and
then deployed at fp32, at int8 after training, and at int8 after training rounded for so many seconds. All files of a
runtime are measured in one session, in turns; accuracy is that of the file on the test split. Goal: at most 0.5 points
lost, at least 1.8 times faster where the CPU has the instructions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from own_model import ResNet
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.compress.aware import train_aware
from hwnas.compress.distill import fine_tune
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.measurement import Measurement
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import Task
from hwnas.export.bundle import calibration_samples, evaluate_file
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.plugins import load_plugin
from hwnas.runtimes.cpu_flags import read_cpu_flags
from hwnas.trace import checked_build

KINDS = ("fp32", "int8", "int8-aware")


def networks(task: Task) -> dict[str, nn.Module]:
    """Untrained ones."""
    space = load_plugin("space", "mobilenet").for_task(task)
    middle = space.architecture({c.label: c.options[len(c.options) // 2] for c in space.choices})
    torch.manual_seed(0)
    mobile = checked_build(space, Candidate(middle, CompressionPlan()), task)
    return {"mobilenet-middle": mobile, **{f"resnet-{width}": ResNet(width, 2, task.n_outputs) for width in (16, 48)}}


def trained(network: nn.Module, task: Task, train_s: float, aware_s: float) -> dict[str, nn.Module]:
    """The weights of each kind of file."""
    plain = fine_tune(network, task, epochs=200, lr=5e-3, batch_size=64, patience=50, stop_after_s=train_s).model
    samples = torch.from_numpy(calibration_samples(task))
    aware = train_aware(plain, task, samples, epochs=20, lr=5e-4, batch_size=64, stop_after_s=aware_s)
    return {"fp32": plain, "int8": plain, "int8-aware": aware.model}


def deployed(name: str, models: dict[str, nn.Module], task: Task, runtime_name: str, seconds: float) -> dict[str, Any]:
    """Latency and accuracy of each kind of file in a runtime."""
    runtime = load_plugin("runtime", runtime_name)()
    row: dict[str, Any] = {"network": name, "runtime": runtime_name}
    with tempfile.TemporaryDirectory() as folder:
        items = []
        for kind in KINDS:
            precision, path = kind.removesuffix("-aware"), Path(folder) / f"{kind}{runtime.suffix}"
            spec = ExportSpec(
                precision=precision, input_shape=tuple(task.input_shape),
                calibration=calibration_samples(task), cpu_flags=read_cpu_flags(),
            )  # fmt: skip
            runtime.export(models[kind], spec, path)
            candidate = Candidate(Architecture.of(kind, {}), CompressionPlan(precision))
            items.append(MeasureItem(candidate, path, precision, tuple(task.input_shape)))
            row[f"{kind} accuracy"] = round(evaluate_file(path, runtime, task.test, task.preprocessing, 1), 4)
        found = measure_files(items, device="cpu", runtime=runtime_name, threads=1, seconds_per_model=seconds)
    for kind, measured in zip(KINDS, found, strict=True):
        if isinstance(measured, Measurement):
            row |= {f"{kind} ms": round(measured.percentile_ms(10), 4), f"{kind} stable": measured.stable}
    row["faster"] = round(row["fp32 ms"] / row["int8 ms"], 3)
    row["points lost"] = round(100 * (row["fp32 accuracy"] - row["int8 accuracy"]), 2)
    row["points lost, aware"] = round(100 * (row["fp32 accuracy"] - row["int8-aware accuracy"]), 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=float, default=150.0, metavar="S")
    parser.add_argument("--aware", type=float, default=30.0, metavar="S")
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring each file")
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino"])
    args = parser.parse_args()
    task = load_plugin("task", "cifar10")(args.data, input_shape=None, seed=0)
    rows = []
    for name, network in networks(task).items():
        models = trained(network, task, args.train, args.aware)
        for runtime in args.runtimes:
            rows.append(deployed(name, models, task, runtime, args.seconds))
            print(rows[-1], flush=True)
    goal = {"points_lost": 0.5, "faster": 1.8}
    shown = {"train_s": args.train, "aware_s": args.aware}
    record("int8", "python benchmarks/compression/int8.py --data DIR", {"goal": goal, **shown, "rows": rows})


if __name__ == "__main__":
    main()
