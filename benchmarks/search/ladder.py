"""What cheap evaluations first are worth: `python benchmarks/search/ladder.py` writes results/<date>-ladder.json.

    python benchmarks/search/ladder.py --data DIR [--epochs 10000] [--seeds 10]

NAS-Bench-201 with published accuracies after 12 and after 200 epochs. Both searches spend the same number of epochs:
one trains each candidate for 200; the other trains more of them for 12, and then the best third of those that are alike
in latency for 200. The figure is the hypervolume of what was trained to the end as a share of that of all networks (see
run.py), mean and standard deviation over seeds. The sampler is "hypervolume" in both.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from record import record
from run import make
from tables import NasBench201

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.search.evaluated import Evaluated
from hwnas.search.ladder import GROUP, PROMOTED_SHARE, best_of_neighbours

EARLY, WHOLE = 12, 200  # epochs


def proposed(
    table: NasBench201, device: str, error: NDArray[np.float64], seed: int, count: int
) -> tuple[list[int], NDArray[np.float64], tuple[float, float], float]:
    """Networks that a search with these errors looks at, and the problem."""
    cost_ms, worst, all_of_it = table.problem(device)
    study = optuna.create_study(
        directions=["minimize", "maximize"], sampler=make("hypervolume", table, cost_ms, worst, seed)
    )
    seen: list[int] = []
    while len(seen) < count:
        trial = study.ask(table.space)
        at = table.number(trial.params)
        study.tell(trial, [cost_ms[at], 1 - error[at]])
        seen += [at] if at not in seen else []
    return seen, cost_ms, worst, all_of_it


def promoted(table: NasBench201, seen: Sequence[int], cost_ms: NDArray[np.float64]) -> list[int]:
    """The best third of neighbours after EARLY epochs."""
    nobody = Candidate(Architecture.of(table.name, {"number": 0}))
    records = [Evaluated(at, nobody, {"": cost_ms[at]}, {"": True}, 1 - table.early_error[at]) for at in seen]
    return [found.number for found in best_of_neighbours(records)]


def spent(n: int) -> int:
    """Epochs of a ladder with `n` candidates."""
    groups = np.array_split(np.arange(n), math.ceil(n / GROUP))
    return EARLY * n + WHOLE * sum(math.ceil(PROMOTED_SHARE * len(group)) for group in groups)


def shares(table: NasBench201, device: str, seed: int, epochs: int) -> tuple[float, float]:
    """Of the hypervolume that there is: with whole trainings only, and with the ladder."""
    whole, cost_ms, worst, all_of_it = proposed(table, device, table.error, seed, epochs // WHOLE)
    count = max(n for n in range(1, epochs // EARLY) if spent(n) <= epochs)
    early, *_ = proposed(table, device, table.early_error, seed, count)
    best = promoted(table, early, cost_ms)
    assert EARLY * count + WHOLE * len(best) <= epochs
    return tuple(table.hypervolume(seen, cost_ms, worst) / all_of_it for seen in (whole, best))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=10)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, rows = NasBench201(args.data), []
    for device in table.devices:
        found = np.array([shares(table, device, seed, args.epochs) for seed in range(args.seeds)])
        row: dict[str, Any] = {"device": device, "seeds": args.seeds}
        for name, values in zip(("whole", "ladder"), found.T, strict=True):
            row[name] = [round(float(values.mean()), 4), round(float(values.std()), 4)]
        rows.append(row)
        print(row, flush=True)
    record("ladder", "python benchmarks/search/ladder.py --data DIR", {"epochs": args.epochs, "rows": rows})


if __name__ == "__main__":
    main()
