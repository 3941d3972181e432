"""Does the supernet rank? Spearman between inherited accuracy and the accuracy of subnets trained alone.

    python benchmarks/supernet_ranking.py --data DIR [--subnets 24] [--epochs 30] [--alone-epochs 12] [--teach-every 4]

A class-balanced subset of CIFAR-10: 4,000 training and 1,000 validation images, space mobilenet.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from record import record
from scipy.stats import kendalltau, spearmanr

from hwnas.accuracy.supernet import SupernetEvaluator
from hwnas.compress.distill import fine_tune
from hwnas.core.candidate import Candidate
from hwnas.core.task import Split, Task
from hwnas.elastic.train import TrainSettings, train_supernet
from hwnas.plugins import load_plugin
from hwnas.trace import checked_build, operations


def subset(split: Split, count: int) -> Split:
    """The first `count` samples, the same number of each class."""
    per_class = count // 10
    chosen = np.sort(np.concatenate([np.flatnonzero(split.labels == label)[:per_class] for label in range(10)]))
    return Split(split.inputs[chosen], split.labels[chosen])


def small_task(data: Path) -> Task:
    """CIFAR-10, cut down to what two cores can train 25 times."""
    task = load_plugin("task", "cifar10")(data, input_shape=None, seed=0)
    return replace(task, train=subset(task.train, 4000), validation=subset(task.validation, 1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--subnets", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--alone-epochs", type=int, default=12)
    parser.add_argument("--teach-every", type=int, default=4, help="as a search with --time trains")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    task = small_task(args.data)
    space = load_plugin("space", "mobilenet").for_task(task)
    torch.manual_seed(0)
    net, start = space.supernet(task), time.monotonic()
    settings = TrainSettings(epochs=args.epochs, batch_size=64, learning_rate=0.1, teach_every=args.teach_every)
    train_supernet(net, space, task, settings)
    supernet_s = time.monotonic() - start
    evaluator = SupernetEvaluator(net, space.largest(), task, n_calibration=512)
    rng, rows = np.random.default_rng(1), []
    for number in range(args.subnets):
        # From the smallest to the largest, so that the sample spans the space.
        candidate = Candidate([space.smallest(), space.largest()][number] if number < 2 else space.sample(rng))
        inherited = evaluator.evaluate(candidate).accuracy
        torch.manual_seed(number)
        model = checked_build(space, candidate, task)
        alone = fine_tune(model, task, epochs=args.alone_epochs, lr=3e-3, seed=number, patience=args.alone_epochs)
        rows.append((operations(space, candidate, task).macs, inherited, alone.accuracy))
        print(number, rows[-1], flush=True)
    macs, inherited, alone = (np.array(column) for column in zip(*rows, strict=True))
    figures = {
        "subnets": len(rows),
        "epochs": args.epochs,
        "teach_every": args.teach_every,
        "alone_epochs": args.alone_epochs,
        "supernet_s": round(supernet_s),
        "spearman": round(float(spearmanr(inherited, alone).statistic), 3),
        "kendall": round(float(kendalltau(inherited, alone).statistic), 3),
        "spearman_of_macs": round(float(spearmanr(macs, alone).statistic), 3),
        "inherited": [float(inherited.min()), float(inherited.max())],
        "alone": [float(alone.min()), float(alone.max())],
        "rows": [[int(m), float(i), float(a)] for m, i, a in rows],
    }
    record("supernet-ranking", "python benchmarks/supernet_ranking.py --data DIR", figures)


if __name__ == "__main__":
    main()
