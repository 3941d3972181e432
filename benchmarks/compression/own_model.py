"""A residual network that is trained on CIFAR-10, then compressed for this machine: speed gained, accuracy lost.

    python benchmarks/compression/own_model.py --data DIR --train 6m --time 20m --out RUN

A network that RUN holds from an earlier call is taken (`--only-train` trains it for longer, and ends); a search that
was interrupted there goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

import hwnas
from hwnas.cli.duration import parse_duration
from hwnas.cli.progress import progress_listener
from hwnas.compress.distill import fine_tune
from hwnas.compress.sensitivity import Sensitivity
from hwnas.compress.weights import load_weights
from hwnas.core.gain import best_within, gains
from hwnas.core.task import Task
from hwnas.plugins import load_plugin

GOAL = {"faster": 2.0, "points_lost": 1.0}


class Block(nn.Module):
    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or given != width:
            self.short = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.short(x))


class ResNet(nn.Module):
    """A ResNet for small images: three stages, behind a stem that halves them."""

    def __init__(self, width: int, blocks: int, n_outputs: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = (width, 2 * width, 4 * width)
        givens = (width, width, 2 * width)
        for number, (given, of_stage) in enumerate(zip(givens, widths, strict=True), start=1):
            first = Block(given, of_stage, 1 if number == 1 else 2)
            rest = [Block(of_stage, of_stage, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
        self.head = nn.Linear(4 * width, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
        return self.head(x.mean((2, 3)))


def trained(args: argparse.Namespace, task: Task) -> tuple[nn.Module, dict[str, float]]:
    """The network; trained now, or for longer, unless its weights are there and are to be compressed."""
    torch.manual_seed(0)
    network, path = ResNet(args.width, args.blocks, task.n_outputs), args.out / "weights.safetensors"
    if path.exists():
        network.load_state_dict(load_weights(path))
        if not args.only_train:
            return network.eval(), {}
    start = time.monotonic()
    tuned = fine_tune(
        network, task, epochs=100, lr=3e-3, batch_size=128, patience=100, stop_after_s=parse_duration(args.train)
    )
    args.out.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tuned.model.state_dict().items()}, path)
    print(f"trained: validation accuracy {tuned.accuracy:.3f} after {tuned.epochs} epochs", flush=True)
    return tuned.model, {"epochs": tuned.epochs, "seconds": round(time.monotonic() - start)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", default="6m")
    parser.add_argument("--time", default="20m")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--precision", action="append")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only-train", action="store_true", help="train, and compress in another call")
    args = parser.parse_args()
    task = load_plugin("task", "cifar10")(args.data, input_shape=None, seed=0)
    network, training = trained(args, task)
    if args.only_train:
        return
    run = args.out / "run"
    with progress_listener() as listener:
        result = hwnas.compress(
            network,
            device="cpu",
            task=task,
            time_s=parse_duration(args.time),
            trials=args.trials,
            precision=args.precision,
            out=run,
            resume=run.exists(),
            listener=listener,
        )
    original = result.original
    assert original is not None
    found = gains(result.details, original, "cpu")
    best = best_within(found, GOAL["points_lost"])
    figures = {
        "goal": GOAL,
        "network": {"width": args.width, "blocks": args.blocks, "training": training or "in an earlier call"},
        "original": original.to_json(),
        "best_within_a_point": None if best is None else asdict(best),
        "models": [{**asdict(gain), **result.details.model(gain.id).to_json()} for gain in found],
        "sensitivity": Sensitivity.read(run).to_json(),
    }
    options = f"--train {args.train} --time {args.time} --width {args.width} --blocks {args.blocks}"
    record("own-model", f"python benchmarks/compression/own_model.py --data DIR {options} --out RUN", figures)


if __name__ == "__main__":
    main()
