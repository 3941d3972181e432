"""Speed of shipped predictors: candidates a second on one core, loading, files, `hwnas predict` on an ONNX file.

    python benchmarks/predictors/speed.py

Candidates are drawn from a space; none is scored twice. Blocks repeat from candidate to candidate, as in a search, so
that the predictor knows most of them after the first thousands. "scored": operations are there already; "with
operations": the list of operations is made from the choices first; "first": the first 500 candidates of a fresh
predictor and a fresh space.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import hwnas.latency_models
from record import record

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskShape
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.plugins import load_plugin
from hwnas.trace import checked_build, operations

MODELS = Path(hwnas.latency_models.__file__).parent
SPACES = {"nasbench201": "jetson-nano", "fbnet": "pixel-3", "mnasnet": "zcu102", "ofa-mobilenetv3": "gtx-1080-ti"}
MANY, ROUNDS, FIRST = 4000, 5, 500


def folder_of(device: str) -> Path:
    """Of a device's first predictor."""
    return sorted(MODELS.glob(f"{device}*/*/card.json"))[0].parent


def rate(run: Callable[[], object], count: int) -> float:
    """A second, once."""
    start = time.perf_counter()
    run()
    return count / (time.perf_counter() - start)


def drawn(space: SearchSpace, count: int) -> list[Candidate]:
    """Different candidates of a space."""
    rng, found = np.random.default_rng(0), dict[Architecture, Candidate]()
    while len(found) < count:
        architecture = space.sample(rng)
        found[architecture] = Candidate(architecture)
    return list(found.values())


def scoring(name: str, device: str) -> dict[str, Any]:
    """Candidates a second of one space and predictor."""
    base = load_plugin("space", name)
    task = TaskShape(base.input_shape or (3, 32, 32), 10)
    space, predictor = base.for_task(task), LinearGpPredictor.load(folder_of(device))
    # NAS-Bench-201 has 15,625 architectures in all.
    candidates = drawn(space, min(FIRST + MANY * (ROUNDS + 1), 12_000 if name == "nasbench201" else 10**9))

    def networks(part: Sequence[Candidate]) -> list[Any]:
        return [operations(space, candidate, task) for candidate in part]

    first = rate(lambda: predictor.predict(networks(candidates[:FIRST])), FIRST)
    parts = np.array_split(np.arange(FIRST, len(candidates)), ROUNDS + 1)
    batches = [[candidates[index] for index in part] for part in parts]
    predictor.predict(networks(batches[0]))
    scored, whole = [], []
    for batch in batches[1:]:
        start = time.perf_counter()
        lists = networks(batch)
        middle = time.perf_counter()
        predictor.predict(lists)
        end = time.perf_counter()
        scored.append(len(batch) / (end - middle))
        whole.append(len(batch) / (end - start))
    row = {"scored": scored, "with_operations": whole}
    found = {key: {"median": round(statistics.median(v)), "min": round(min(v))} for key, v in row.items()}
    return {"space": name, "device": device, **found, "first": round(first)}


def loading() -> dict[str, Any]:
    """All shipped predictors: size of the files, and milliseconds to read them (the median of five)."""
    sizes, times = {}, {}
    for card in sorted(MODELS.glob("*/*/card.json")):
        name = str(card.parent.relative_to(MODELS))
        sizes[name] = sum(path.stat().st_size for path in card.parent.iterdir())
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            LinearGpPredictor.load(card.parent)
            taken.append(1000 * (time.perf_counter() - start))
        times[name] = statistics.median(taken)
    return {
        "predictors": len(sizes),
        "bytes_max": max(sizes.values()),
        "bytes_median": int(statistics.median(sizes.values())),
        "load_ms_max": round(max(times.values()), 2),
        "load_ms_median": round(statistics.median(times.values()), 2),
    }


def predict_command() -> dict[str, float]:
    """Seconds of whole processes: `hwnas predict` on a network of 224 pixels, and `hwnas --help`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        base = load_plugin("space", "ofa-mobilenetv3")
        task = TaskShape(base.input_shape or (3, 224, 224), 1000)
        space = base.for_task(task)
        model = checked_build(space, Candidate(space.largest()), task).eval()
        torch.onnx.export(model, (torch.zeros(1, *task.input_shape),), path, dynamo=False)
        command = [sys.executable, "-c", "from hwnas.cli.main import main; main()"]
        runs = {
            "predict_s": [*command, "predict", "--device", "gtx-1080-ti", str(path)],
            "help_s": [*command, "--help"],
        }
        found = {}
        for name, line in runs.items():
            times = []
            for _ in range(5):
                start = time.perf_counter()
                subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
                times.append(time.perf_counter() - start)
            found[name] = round(statistics.median(times), 3)
        return found | {"file_mb": round(path.stat().st_size / 1e6, 1)}


def main() -> None:
    rows = [scoring(space, device) for space, device in SPACES.items()]
    figures = {
        "goal": {"candidates_per_s": 20_000, "load_ms": 10, "bytes": 1_000_000, "predict_s_after_start": 1},
        "scoring": rows,
        "loading": loading(),
        "predict_onnx": predict_command(),
    }
    record("predictor-speed", "python benchmarks/predictors/speed.py", figures)


if __name__ == "__main__":
    main()
