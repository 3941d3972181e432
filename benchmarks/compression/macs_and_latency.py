"""Networks with fewer multiply-adds that are not faster, and whether the predictor knows it before they are measured.

    python benchmarks/compression/macs_and_latency.py --seconds 2

1. Of random networks of `mobilenet` (1x8x8, fp32: what `--task digits` searches), the pairs whose order by MACs
   the predictor of this machine contradicts most. Both networks of a pair are exported, and measured interleaved with
   all others.
2. A plain convolutional network whose layers of 64 channels are cut to friendlier and less friendly numbers.

The predictor is the one that `hwnas predict MODEL.onnx --device cpu` takes; `hwnas search --device cpu --task digits`
calibrates it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from record import record

from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.ops import OpList
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.runtime import ExportedModel, ExportSpec
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import find_device
from hwnas.elastic.space import build_candidate
from hwnas.latency.library import find_predictors
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.onnx_ops.operations import onnx_operations
from hwnas.plugins import load_plugin
from hwnas.runtimes.onnxruntime import OnnxRuntime
from hwnas.trace import operations

SHAPE = TaskShape((1, 8, 8), 10)
SAMPLED, PAIRS = 1500, 6
FEWER_MACS = 0.85  # of a pair, the lighter network has at most this share of the other's
WIDTHS = (64, 60, 57, 56, 48)


def contradictions(networks: Sequence[OpList], predicted_ms: Sequence[float]) -> list[tuple[int, int]]:
    """Pairs (more multiply-adds, fewer) whose predicted order is the other way round, the clearest first.

    No network is in two pairs.
    """
    macs = np.array([network.macs for network in networks], float)
    times = np.array(predicted_ms)
    lighter = macs[None, :] <= FEWER_MACS * macs[:, None]
    slower = np.where(lighter, times[None, :] / times[:, None], 0.0)
    pairs: list[tuple[int, int]] = []
    used: set[int] = set()
    for place in np.argsort(slower, axis=None)[::-1]:
        heavy, light = (int(part) for part in np.unravel_index(place, slower.shape))
        if slower[heavy, light] <= 1 or len(pairs) == PAIRS:
            break
        if not used & {heavy, light}:
            pairs.append((heavy, light))
            used |= {heavy, light}
    return pairs


def plain_network(width: int) -> nn.Module:
    """Six convolutions of one width."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for given in (SHAPE.input_shape[0], *[width] * 5):
        layers += [nn.Conv2d(given, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)).eval()


def exported(network: nn.Module, path: Path) -> ExportedModel:
    return OnnxRuntime().export(network.eval(), ExportSpec(precision="fp32", input_shape=SHAPE.input_shape), path)


def described(file: ExportedModel, predictor: LatencyPredictor, measured: object) -> dict[str, Any]:
    """One network: as `hwnas predict` reads its file, and as it was measured (10th percentile)."""
    found = onnx_operations(file.path).operations
    (prediction,) = predictor.predict([found])
    by_kind: dict[str, int] = {}
    for op in found:
        if op.macs:
            by_kind[op.kind] = by_kind.get(op.kind, 0) + op.macs
    seen = isinstance(measured, Measurement)
    return {
        "macs": found.macs,
        "macs_by_kind": by_kind,
        "operations_that_compute": sum(op.macs > 0 for op in found),
        "operations_that_run": file.details["graph"]["after"],
        "predicted_ms": prediction.latency_ms,
        "in_domain": prediction.in_domain,
        "measured_ms": measured.percentile_ms(10) if seen else None,
        "stable": measured.stable if seen else None,
    }


def ratios(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """After over before: below 1 is less work, or faster."""
    measured = after["measured_ms"] / before["measured_ms"]
    predicted = after["predicted_ms"] / before["predicted_ms"]
    return {
        "macs_ratio": after["macs"] / before["macs"],
        "predicted_ratio": predicted,
        "measured_ratio": measured,
        "macs_order_is_right": measured < 1,
        "predictor_order_is_right": (measured < 1) == (predicted < 1),
        "before": before,
        "after": after,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of measuring, a network")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    device = find_device("cpu")
    space = load_plugin("space", "mobilenet").for_task(SHAPE)
    # The one that is for these networks, as a search takes it; `hwnas predict` on a file finds the same.
    predictor = find_predictors(device, space="mobilenet", input_shape=SHAPE.input_shape)["fp32"]
    rng = np.random.default_rng(options.seed)
    drawn = [Candidate(space.sample(rng)) for _ in range(SAMPLED)]
    networks = [operations(space, one, SHAPE, multiple=device.channel_multiple) for one in drawn]
    pairs = contradictions(networks, [found.latency_ms for found in predictor.predict(networks)])
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        chosen = [number for pair in pairs for number in pair]
        built = [build_candidate(space, drawn[i], SHAPE, multiple=device.channel_multiple) for i in chosen]
        built += map(plain_network, WIDTHS)
        files = [exported(network, Path(folder) / f"{place}.onnx") for place, network in enumerate(built)]
        items = [MeasureItem(drawn[place], file.path, "fp32", SHAPE.input_shape) for place, file in enumerate(files)]
        seen = measure_files(
            items, device="cpu", runtime="onnxruntime", threads=1, seconds_per_model=options.seconds, seed=options.seed
        )
        rows = [described(file, predictor, one) for file, one in zip(files, seen, strict=True)]
    found = [ratios(rows[2 * number], rows[2 * number + 1]) for number in range(len(pairs))]
    whole, *cut = rows[2 * len(pairs) :]
    card = predictor.card
    record(
        "macs-and-latency",
        f"python benchmarks/compression/macs_and_latency.py --seconds {options.seconds:g} --seed {options.seed}",
        {
            "predictor": {"id": card.id, "held_out_error": card.mape, "networks": card.n_measurements},
            "sampled": SAMPLED,
            "pairs": found,
            "channels": [
                {"from": WIDTHS[0], "to": width, **ratios(whole, one)}
                for width, one in zip(WIDTHS[1:], cut, strict=True)
            ],
        },
    )


if __name__ == "__main__":
    main()
