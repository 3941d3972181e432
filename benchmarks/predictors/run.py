"""Latency predictors on published measurements: `python benchmarks/predictors/run.py` writes benchmarks/results/.

    python benchmarks/predictors/run.py [--only help nasflat samples cross] [--seeds 5] [--data DIR] [--out DIR]

- help: HELP's table 3. Known devices from the first 900 architectures, 10 measurements of a new one chosen among these,
  Spearman on the next 1,000 within the middle 80 % of latency.
- nasflat: its sets ND, FD, F1, F2. Known devices from 512 (ND) or 800 networks, 20 measurements of each test device.
- samples: every device measured on NAS-Bench-201, 10, 20, 100 and 900 measurements, all other devices known (but not
  the same hardware in another table, at another batch or precision).
- cross: measured on NAS-Bench-201 only, asked for FBNet: as the predictor is, out of its domain; with 10 measurements
  there; and with these and other devices that are known on FBNet.
What was measured is never in a figure. NAS-Bench-201 is represented by 4,900 of its architectures (the first 1,950, the
1,999 of OneProxy's tables, and 1,500 drawn ones), FBNet by its first 2,000.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))
from predictors.tables import DATA, Table

from hwnas.latency.features import matrix
from hwnas.latency.fit import Origin, cross_validate, fit_model, fit_predictor
from hwnas.latency.posterior import Pool, posterior
from hwnas.latency.scores import score
from hwnas.latency.transfer import FEW, HALF_WIDTH

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
RESULTS = Path(__file__).parents[1] / "results"
MODELLED = {"eyeriss", "fpga", "rice_eyeriss", "rice_fpga"}
DROPS_DEAD = ("eagle_",)
# Columns of the same hardware, by what their names begin with or contain.
FAMILIES = (
    "1080ti",
    "2080ti",
    "titan_rtx",
    "titanxp",
    "titanx",
    "jetson",
    "pixel3",
    "raspi4",
    "eyeriss",
    "fpga",
    "640",
)
SAME = {"eagle_i7": "1080ti", "true_630": "640", "eagle_gpu_855": "640", "silver_4210r": "silver_4114"}
SAME |= {"eagle_tpu": "edgetpu", "rice_edgetpu": "edgetpu", "eagle_jetson_16": "jetson", "gold_6240": "gold_6226"}


@dataclass(frozen=True)
class Space:
    """Features and latencies of one table.

    Attributes:
        index: rows of the table of architectures, `m`.
        whole, lean: features with and without operations that have no effect, `m x len(COLUMNS)`.
        latency: column -> ms, NaN where not measured, `m`.
    """

    index: IntArray
    whole: FloatArray
    lean: FloatArray
    latency: dict[str, FloatArray]

    def features(self, column: str) -> FloatArray:
        """Of what was run."""
        return self.lean if column.startswith(DROPS_DEAD) else self.whole


def load(name: str, data: Path, cache: Path | None) -> Space:
    """Read a table, and compute its features unless they are in the cache."""
    table = Table(name, data)
    found = None if cache is None or not (cache / f"{name}.npz").exists() else np.load(cache / f"{name}.npz")
    if found is None:
        index = _represented(table)
        index = index[[table.is_live(int(row)) for row in index]] if name == "nasbench201" else index
        whole = matrix([table.network(int(row)) for row in index], flow=True)
        lean = whole
        if name == "nasbench201":
            lean = matrix([table.network(int(row), drops_dead=True) for row in index], flow=True)
        found = {"index": index, "whole": whole, "lean": lean}
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(cache / f"{name}.npz", **found)
    index = found["index"].astype(np.int64)
    latency = {}
    for column in table.columns():
        rows = table.rows(column)
        known = dict(zip(rows.index.tolist(), rows.latency_ms.tolist(), strict=True))
        latency[column] = np.array([known.get(int(row), np.nan) for row in index])
    return Space(index, found["whole"].astype(float), found["lean"].astype(float), latency)


def _represented(table: Table) -> IntArray:
    if table.name != "nasbench201":
        return np.arange(2000)
    copied = table.rows("true_a76").index
    drawn = np.random.default_rng(5).permutation(15625)[:1500]
    return np.unique(np.concatenate([np.arange(1950), copied, drawn])).astype(np.int64)


def known_device(space: Space, column: str, train: IntArray, seed: int) -> FloatArray:
    """What a known device is predicted to need for every network, learned from `train`."""
    features, latency = space.features(column), space.latency[column]
    train = train[np.isfinite(latency[train])]
    rng = np.random.default_rng(seed)
    model = fit_model(features[train], latency[train], width=0.1, rng=rng)
    return model.latency_ms(features)


@dataclass(frozen=True)
class Answer:
    """Predictions of all networks, the 90 % interval, and which networks were measured."""

    ms: FloatArray
    low: FloatArray
    high: FloatArray
    at: IntArray


def few_shot(space: Space, column: str, known: FloatArray, among: IntArray, count: int, seed: int) -> Answer:
    """Choose `count` networks among 300 drawn ones of `among`, measure them, learn the device."""
    latency = space.latency[column]
    drawn = np.random.default_rng(seed).permutation(among[np.isfinite(latency[among])])[: max(300, 3 * count)]
    pool = Pool(space.features(column), known)
    at = np.array(pool.design(count, drawn))
    found = posterior(pool, at, latency[at])
    # The interval that a predictor file has: one width for all.
    width = HALF_WIDTH * float(np.sqrt(np.mean(found.spread**2)))
    return Answer(found.latency_ms, found.latency_ms * np.exp(-width), found.latency_ms * np.exp(width), at)


def alone(space: Space, column: str, among: IntArray, count: int, seed: int) -> Answer:
    """Measure `count` drawn networks, and learn the device from them alone."""
    latency, features = space.latency[column], space.features(column)
    rng = np.random.default_rng(seed)
    at = rng.permutation(among[np.isfinite(latency[among])])[:count]
    _, width, _ = cross_validate(features[at], latency[at], rng=rng)
    ms = fit_model(features[at], latency[at], width=width, rng=rng).latency_ms(features)
    return Answer(ms, ms * np.exp(-width), ms * np.exp(width), at)


def figures(space: Space, column: str, answer: Answer, test: IntArray, *, trimmed: bool = False) -> dict[str, float]:
    """Scores on the networks of `test` that were not measured."""
    latency = space.latency[column]
    test = np.setdiff1d(test, answer.at)
    test = test[np.isfinite(latency[test])]
    if trimmed:
        low, high = np.quantile(latency[test], [0.1, 0.9])
        test = test[(latency[test] >= low) & (latency[test] <= high)]
    found = score(latency[test], answer.ms[test], answer.low[test], answer.high[test])
    return {
        "spearman": float(found.spearman or 0.0),
        "mape": found.mape,
        "within_10": found.within_10,
        "coverage": found.coverage,
    }


def repeated(run: Callable[[int], dict[str, float]], seeds: int, **what: Any) -> dict[str, Any]:
    """A row: mean and standard deviation over seeds."""
    runs = [run(seed) for seed in range(seeds)]
    row: dict[str, Any] = dict(what)
    for name in runs[0]:
        values = [run[name] for run in runs]
        row[name], row[f"{name}_std"] = float(np.mean(values)), float(np.std(values, ddof=1)) if seeds > 1 else 0.0
    print(_line(row), flush=True)
    return row


def help_table(space: Space, protocol: dict[str, Any], seeds: int) -> Iterator[dict[str, Any]]:
    """HELP's table 3."""
    split = protocol["spaces"]["nasbench201"]
    first, query = np.flatnonzero(space.index < 900), np.flatnonzero((space.index >= 900) & (space.index < 1900))
    known = np.column_stack([known_device(space, column, first, 0) for column in split["meta_train"]])
    for column in (c for c in split["meta_test"] if c in space.latency):
        for count in (10, 20):
            yield repeated(
                lambda seed, column=column, count=count: figures(  # type: ignore[misc]
                    space, column, few_shot(space, column, known, first, count, seed), query, trimmed=True
                ),
                seeds, protocol="HELP table 3", device=column, samples=count,
            )  # fmt: skip


def nasflat(spaces: dict[str, Space], protocol: dict[str, Any], seeds: int) -> Iterator[dict[str, Any]]:
    """NASFLAT's sets."""
    for table, count in (("nasbench201", 512), ("fbnet", 800)):
        space = spaces[table]
        for name in ("ND", "FD", "F1", "F2"):
            split = protocol[table].get(name)
            if split is None:
                continue
            train = np.random.default_rng(0).permutation(len(space.index))[:count]
            known = np.column_stack([known_device(space, c, train, 0) for c in split["train"] if c in space.latency])
            for column in split["test"]:
                yield repeated(
                    lambda seed, space=space, column=column, known=known, train=train: figures(  # type: ignore[misc]
                        space, column, few_shot(space, column, known, train, 20, seed), np.arange(len(space.index))
                    ),
                    seeds, protocol=f"NASFLAT {name}", device=column, samples=20,
                )  # fmt: skip


def family(column: str) -> str:
    """Hardware of a column, coarsely."""
    return SAME.get(column) or next((name for name in FAMILIES if name in column), column)


def samples(space: Space, seeds: int, counts: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Every device measured on NAS-Bench-201; a network in four serves for learning the known devices only."""
    columns = [c for c in space.latency if c not in MODELLED and c not in ("eagle_i7", "rice_raspi4", "rice_pixel3")]
    quarter = np.flatnonzero(space.index % 4 == 0)
    rest = np.flatnonzero(space.index % 4 != 0)
    predicted = {column: known_device(space, column, quarter[:500], 0) for column in columns}
    for column in columns:
        others = [predicted[c] for c in columns if family(c) != family(column)]
        known = np.column_stack(others)
        for count in counts:

            def run(seed: int, column: str = column, known: FloatArray = known, count: int = count) -> dict[str, float]:
                if count <= FEW:
                    answer = few_shot(space, column, known, rest, count, seed)
                else:
                    answer = alone(space, column, rest, count, seed)
                return figures(space, column, answer, rest)

            yield repeated(run, seeds, protocol="NAS-Bench-201", device=column, samples=count)


def cross(spaces: dict[str, Space], data: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """From NAS-Bench-201 to FBNet, per device with both."""
    cells, blocks = spaces["nasbench201"], spaces["fbnet"]
    tables = {name: Table(name, data) for name in ("nasbench201", "fbnet")}
    everything = np.arange(len(blocks.index))
    both = [c for c in blocks.latency if c in cells.latency and c not in {"raspi4", "pixel3", *MODELLED}]
    predicted = {column: known_device(blocks, column, everything[:500], 0) for column in both}
    for column in both:
        latency = cells.latency[column]
        at = np.flatnonzero(np.isfinite(latency))[:900]
        yield _blind(tables, spaces, column, at)
        own = fit_model(cells.whole[at], latency[at], width=1.0, rng=np.random.default_rng(0)).latency_ms(blocks.whole)
        others = [predicted[c] for c in both if family(c) != family(column)]
        for label, known in (("", own[:, None]), (", other devices known there", np.column_stack([own, *others]))):
            yield repeated(
                lambda seed, column=column, known=known: figures(  # type: ignore[misc]
                    blocks, column, few_shot(blocks, column, known, everything, 10, seed), everything
                ),
                seeds, protocol=f"NAS-Bench-201 to FBNet{label}", device=column, samples=10,
            )  # fmt: skip


def _blind(tables: dict[str, Table], spaces: dict[str, Space], column: str, at: IntArray) -> dict[str, Any]:
    """A predictor of one space, with its card, asked for networks of another."""
    cells, blocks = spaces["nasbench201"], spaces["fbnet"]
    learned = [tables["nasbench201"].network(int(row)) for row in cells.index[at]]
    origin = Origin(device=column, runtime="not-stated", source="HELP", spaces=("nasbench201",))
    predictor = fit_predictor(learned, cells.latency[column][at], origin, rng=np.random.default_rng(0))
    answers = predictor.predict([tables["fbnet"].network(int(row)) for row in blocks.index[:500]])
    ms, low, high = (np.array([getattr(a, name) for a in answers]) for name in ("latency_ms", "low_ms", "high_ms"))
    answer = Answer(ms, low, high, np.empty(0, dtype=np.int64))
    some = Space(blocks.index[:500], blocks.whole[:500], blocks.lean[:500], {column: blocks.latency[column][:500]})
    inside = float(np.mean([a.in_domain for a in answers]))
    return repeated(
        lambda seed: figures(some, column, answer, np.arange(500)),
        1, protocol="NAS-Bench-201 to FBNet", device=column, samples=0, in_domain=inside,
    )  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    cells = [row["protocol"], row["device"], str(row["samples"]), f"{row['spearman']:.3f} ± {row['spearman_std']:.3f}"]
    cells += [f"{100 * row[n]:.1f} ± {100 * row[f'{n}_std']:.1f}" for n in ("mape", "within_10", "coverage")]
    return f"| {' | '.join(cells)} |"


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the devices of each protocol and number of samples."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["protocol"], row["samples"]), []).append(row)
    found = []
    for (protocol, count), group in groups.items():
        row: dict[str, Any] = {"protocol": protocol, "device": f"mean of {len(group)}", "samples": count}
        for name in ("spearman", "mape", "within_10", "coverage"):
            row[name] = float(np.mean([r[name] for r in group]))
            row[f"{name}_std"] = float(np.mean([r[f"{name}_std"] for r in group]))
        found.append(row)
    return found


def write(rows: list[dict[str, Any]], seeds: int, folder: Path) -> Path:
    """Write the figures as JSON and as a table; the path without suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.datetime.now(datetime.UTC).date().isoformat()}-predictors"
    path.with_suffix(".json").write_text(json.dumps({"schema": 1, "seeds": seeds, "rows": rows}, indent=1) + "\n")
    head = "| protocol | device | samples | Spearman | MAPE % | within 10 % | 90 % interval covers % |"
    bar = "| --- " * (head.count("|") - 1) + "|"
    text = [
        "# Latency predictors on published measurements",
        "",
        f"`python benchmarks/predictors/run.py`: mean and standard deviation over {seeds} seeds (of the networks that "
        "are measured); the script's head says what each protocol is.",
        "",
        *(head, bar, *map(_line, means(rows)), "", head, bar, *map(_line, rows)),
    ]
    path.with_suffix(".md").write_text("\n".join(text) + "\n")
    return path


def main() -> None:
    """Run the protocols and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the published tables")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, help="folder where features are kept between runs")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 20, 100, 900])
    parser.add_argument("--only", nargs="+", default=["help", "nasflat", "samples", "cross"])
    options = parser.parse_args()
    spaces = {name: load(name, options.data, options.cache) for name in ("nasbench201", "fbnet")}
    protocols = {
        name: json.loads((options.data / "protocols" / f"{name}_device_splits.json").read_text())
        for name in ("help", "nasflat")
    }
    runs: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "help": lambda: help_table(spaces["nasbench201"], protocols["help"], options.seeds),
        "nasflat": lambda: nasflat(spaces, protocols["nasflat"], options.seeds),
        "samples": lambda: samples(spaces["nasbench201"], options.seeds, options.counts),
        "cross": lambda: cross(spaces, options.data, options.seeds),
    }
    rows: list[dict[str, Any]] = []
    for name in options.only:
        for row in runs[name]():
            rows.append(row)
            path = write(rows, options.seeds, options.out)
    for row in means(rows):
        print(_line(row))
    print(f"written: {path}.md")


if __name__ == "__main__":
    main()
