"""Pruning a network, or training a narrower one, at equal measured latency: writes results/<date>-width.json.

    python benchmarks/compression/width.py --data DIR --own OUT --epochs N [--time 14m] [--widths 8 16 24]

OUT is the folder of own_model.py, with a residual network trained there for N epochs. Its pruned fp32 versions are
those of the front of `hwnas.compress` at fp32. The narrower networks are trained from scratch for as many
epochs, and then for as many more, and with the same teacher, as the pruned ones are finished. All files are measured in
one session, in turns; accuracy is that of the files on the test split. Told is the accuracy of each pruned model less
that of narrower networks of its latency (between two of them, by the logarithm of the latency).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from own_model import ResNet
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

import hwnas
from hwnas.cli.duration import parse_duration
from hwnas.cli.progress import progress_listener
from hwnas.compress.distill import fine_tune, logits_of
from hwnas.compress.weights import load_weights
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.measurement import Measurement
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import Task
from hwnas.export.bundle import evaluate_file
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.plugins import load_plugin

GOAL = 0.5  # points


def pruned(args: argparse.Namespace, network: torch.nn.Module, task: Task) -> tuple[dict[str, Path], int]:
    """The front of a search over pruning alone: its files by id, and the epochs that each was finished for."""
    run = args.own / "fp32"
    with progress_listener() as listener:
        result = hwnas.compress(
            network, device="cpu", task=task, precision="fp32", time_s=parse_duration(args.time),
            out=run, resume=run.exists(), n_front=args.models, listener=listener,
        )  # fmt: skip
    files = {model.id: run / model.artifacts["onnx"].path for model in result.details.models}
    manifests = [json.loads((path.parent / "manifest.json").read_text()) for path in files.values()]
    epochs = [manifest["fine_tuning"]["epochs"] for manifest in manifests if manifest["compression"]["prune"]]
    return files, math.ceil(np.mean(epochs))


def scratch(args: argparse.Namespace, task: Task) -> dict[int, torch.nn.Module]:
    """Narrower networks, trained from scratch; what OUT holds of an earlier call is taken."""
    found: dict[int, torch.nn.Module] = {}
    for width in args.widths:
        torch.manual_seed(0)
        network, path = ResNet(width, 2, task.n_outputs), args.own / f"width-{width}.safetensors"
        if path.exists():
            network.load_state_dict(load_weights(path))
            found[width] = network.eval()
            continue
        done = fine_tune(network, task, epochs=args.epochs, lr=3e-3, batch_size=128, patience=100)
        save_file({name: tensor.contiguous() for name, tensor in done.model.state_dict().items()}, path)
        found[width] = done.model
        print(path.name, done.accuracy, flush=True)
    return found


def narrower(args: argparse.Namespace, teacher: torch.nn.Module, task: Task, more: int) -> dict[str, Path]:
    """Trained from scratch, then finished as the pruned ones are, for `more` epochs."""
    logits, runtime, files = logits_of(teacher, task), load_plugin("runtime", "onnxruntime")(), {}
    for width, network in scratch(args, task).items():
        files[f"width {width}"] = path = args.own / f"width-{width}.onnx"
        if path.exists():
            continue
        done = fine_tune(network, task, epochs=more, lr=2e-3, teacher=logits, batch_size=128, patience=100)
        runtime.export(done.model, ExportSpec(precision="fp32", input_shape=tuple(task.input_shape)), path)
        print(path.name, done.initial_accuracy, done.accuracy, flush=True)
    return files


def measured(files: dict[str, Path], task: Task) -> dict[str, tuple[float, float]]:
    """Name -> (ms, test accuracy) of files, measured in turns."""
    runtime = load_plugin("runtime", "onnxruntime")()
    items = [
        MeasureItem(Candidate(Architecture.of(name, {}), CompressionPlan()), path, "fp32", tuple(task.input_shape))
        for name, path in files.items()
    ]
    found = measure_files(items, device="cpu", runtime="onnxruntime", threads=1, seconds_per_model=2.5)
    return {
        name: (one.percentile_ms(10), evaluate_file(files[name], runtime, task.test, task.preprocessing, 1))
        for name, one in zip(files, found, strict=True)
        if isinstance(one, Measurement)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--own", type=Path, required=True)
    parser.add_argument("--epochs", type=int, required=True, help="that the network was trained for")
    parser.add_argument("--width", type=int, default=32, help="of the network")
    parser.add_argument("--time", default="14m")
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--models", type=int, default=4, help="of the pruned front")
    parser.add_argument("--only-train", action="store_true", help="train the narrower networks from scratch, and end")
    args = parser.parse_args()
    task = load_plugin("task", "cifar10")(args.data, input_shape=None, seed=0)
    if args.only_train:
        scratch(args, task)
        return
    network = ResNet(args.width, 2, task.n_outputs)
    network.load_state_dict(load_weights(args.own / "weights.safetensors"))
    files, more = pruned(args, network.eval(), task)
    scaled = narrower(args, network, task, more)
    found = measured(files | scaled, task)
    curve = sorted(found[name] for name in scaled)
    at, values = np.log([ms for ms, _ in curve]), np.array([accuracy for _, accuracy in curve])
    rows: list[dict[str, Any]] = []
    for name in files:
        ms, accuracy = found[name]
        row = {"model": name, "ms": round(ms, 4), "accuracy": accuracy}
        if at[0] <= np.log(ms) <= at[-1]:
            row["points over a narrower network"] = round(
                100 * (accuracy - float(np.interp(np.log(ms), at, values))), 2
            )
        rows.append(row)
    gained = [row["points over a narrower network"] for row in rows if "points over a narrower network" in row]
    figures = {
        "goal": GOAL, "points_gained": round(float(np.mean(gained)), 2), "compared": len(gained),
        "epochs": args.epochs, "finishing_epochs": more, "pruned": rows,
        "narrower": {name: {"ms": round(found[name][0], 4), "accuracy": found[name][1]} for name in scaled},
    }  # fmt: skip
    record("width", "python benchmarks/compression/width.py --data DIR --own OUT --epochs N", figures)


if __name__ == "__main__":
    main()
