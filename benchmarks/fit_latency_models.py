"""Fit the latency models that ship with hwnas: `python benchmarks/fit_latency_models.py` writes latency_models/.

python benchmarks/fit_latency_models.py [--only DEVICE ...] [--data DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from predictors.tables import DATA, Table
from predictors.targets import TARGETS, Target

from hwnas.core.ops import OpList
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.predictor import LinearGpPredictor

# Points of the residual that a file keeps: far fewer than were measured.
SUPPORT = 300
# Networks of each table; more gained nothing that a search would notice.
MOST = 1200


def learned(target: Target, tables: dict[str, Table], most: int = MOST) -> tuple[list[OpList], np.ndarray, Origin]:  # type: ignore[type-arg]
    """What a target learns from: operations, ms, and the origin with spaces and shapes filled in."""
    networks: list[OpList] = []
    latencies, spaces, shapes = [], [], []
    for part in target.parts:
        table = tables[part.table]
        rows = table.rows(part.column)
        rows = rows.take(np.sort(np.random.default_rng(0).permutation(len(rows))[: most // len(target.parts)]))
        networks += table.networks(rows, drops_dead=part.drops_dead, precision=target.origin.precision)
        latencies.append(rows.latency_ms)
        spaces.append(table.space.name)
        shapes.append(tuple(table.task.input_shape))
    origin = replace(target.origin, spaces=tuple(sorted(spaces)), input_shapes=tuple(sorted(set(shapes))))
    return networks, np.concatenate(latencies), origin


def fit_all(tables: dict[str, Table], only: list[str]) -> Iterator[tuple[Target, LinearGpPredictor]]:
    """Fit every target, or those of some devices."""
    for target in TARGETS:
        if not only or target.origin.device in only:
            networks, latency, origin = learned(target, tables)
            yield target, fit_predictor(networks, latency, origin, rng=np.random.default_rng(0), support=SUPPORT)


def main() -> None:
    """Fit the targets and print their cards' figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published tables")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "latency_models")
    parser.add_argument("--only", nargs="*", default=[], help="devices")
    options = parser.parse_args()
    tables = {name: Table(name, options.data) for name in ("nasbench201", "fbnet", "ofa", "mnasnet")}
    for target, predictor in fit_all(tables, options.only):
        origin = target.origin
        folder = options.out / origin.device / f"{origin.runtime}-{origin.precision}"
        predictor.save(folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # package data is for everybody
        card = predictor.card
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(
            f"{card.id}: {card.n_measurements} measurements, MAPE {card.mape:.2%}, within 10 % {card.within_10:.1%}, "
            f"Spearman {card.spearman:.3f}, Kendall {card.kendall:.3f}, coverage {card.interval_coverage:.1%}, "
            f"{size / 1024:.0f} KiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
