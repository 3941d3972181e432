"""Counting channels in blocks: held-out errors with and without. Writes benchmarks/results/<date>-channel-blocks.json.

    python benchmarks/measure/blocks.py [--cache DIR ...] [--seeds 3]

Read is what this machine was calibrated on (the measurements beside the predictors in the cache of hwnas, or in the
caches given). A device that takes channels by the vector computes 24 as 32; a predictor counts them so if that makes
its held-out error at least a twentieth smaller.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.core.measurement import read_measurements
from hwnas.core.ops import OpList
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import find_device
from hwnas.latency.channels import in_blocks, telling_blocks
from hwnas.latency.features import features_matrix
from hwnas.latency.fit import cross_validate
from hwnas.latency.inventory import inventory_of
from hwnas.latency.records import prepare
from hwnas.plugins import load_plugin
from hwnas.store import cache_dir
from hwnas.trace import operations


def held_out(networks: Sequence[OpList], latency_ms: Sequence[float], block: int, seeds: int) -> dict[str, Any]:
    """Errors of five-fold cross-validation, mean and spread over draws of the folds."""
    rounded = [in_blocks(network, block) for network in networks]
    features, flow = features_matrix(rounded)
    inventory, latency, rows = inventory_of(rounded, flow=flow), np.asarray(latency_ms), []
    for seed in range(seeds):
        found, _, scores = cross_validate(features, latency, rng=np.random.default_rng(seed), inventory=inventory)
        assert found is not None
        assert scores is not None
        error = np.abs(found.predicted / latency - 1)
        rows.append((float(np.median(error)), float(error.mean()), scores.within_10))
    mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0)
    names = ("median_error", "mean_error", "within_10")
    return {"block": block} | {
        name: [round(float(m), 4), round(float(s), 4)] for name, m, s in zip(names, mean, spread, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, nargs="+", default=[cache_dir()])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    rows = []
    for path in sorted(found for cache in args.cache for found in cache.rglob("measurements.jsonl")):
        measured = list(read_measurements(path))
        if measured[0].device != "cpu":
            continue
        samples = prepare(measured, device="cpu", precision=None)
        space_name, shape = samples.spaces[0], samples.shapes[0]
        if shape is None or len(shape) != 3:  # no images
            continue
        space, task = load_plugin("space", space_name), TaskShape(tuple(shape), 10)
        multiple = find_device("cpu").channel_multiple
        networks = [operations(space.for_task(task), c, task, multiple=multiple) for c in samples.candidates]
        what = {"space": space_name, "input": list(shape), "precision": samples.first.precision, "n": len(networks)}
        blocks = [1, *telling_blocks(networks)]
        rows.append(what | {"blocks": [held_out(networks, list(samples.latency_ms), b, args.seeds) for b in blocks]})
        print(rows[-1], flush=True)
    record("channel-blocks", "python benchmarks/measure/blocks.py", {"rows": rows})


if __name__ == "__main__":
    main()
