"""Fit the latency models that ship with hwnas: `python benchmarks/fit_latency_models.py` writes latency_models/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from predictors.targets import DATA, TARGETS, load_table

from hwnas.latency.fit import fit_predictor

# Points of the residual that a file keeps: cell networks in feature space, far fewer than were measured.
SUPPORT = 300


def main() -> None:
    """Fit every target and print its card's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published tables")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "latency_models")
    options = parser.parse_args()
    table = load_table(options.data)
    for target in TARGETS:
        origin = target.origin
        networks = table.networks(target)
        rng = np.random.default_rng(0)
        predictor = fit_predictor(networks, table.latency_ms[target.column], origin, rng=rng, support=SUPPORT)
        folder = options.out / origin.device / f"{origin.runtime}-{origin.precision}"
        predictor.save(folder)
        for path in folder.iterdir():
            path.chmod(0o644)  # package data is for everybody
        card = predictor.card
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(
            f"{card.id}: {card.n_measurements} measurements, MAPE {card.mape:.2%}, within 10 % {card.within_10:.1%}, "
            f"Spearman {card.spearman:.3f}, Kendall {card.kendall:.3f}, coverage {card.interval_coverage:.1%}, "
            f"{size / 1024:.0f} KiB"
        )


if __name__ == "__main__":
    main()
