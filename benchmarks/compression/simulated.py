"""Does the search read at int8 what the deployed file gives? Writes benchmarks/results/<date>-simulated.json.

    python benchmarks/compression/simulated.py RUN [--candidates 30] [--samples 2000] [--runtimes onnxruntime ...]

RUN is a finished search over a weight-shared space. Candidates are drawn from its joint space at int8 and cut out of
its supernet; each one's accuracy is simulated as the search does it, and read from its exported file, both on the same
validation samples, with the same weights.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parents[1]))
from ground import Ground
from record import record

from hwnas.accuracy.inherited import InheritedEvaluator
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.runtime import ExportSpec
from hwnas.core.task import Split
from hwnas.elastic.threads import threads_for
from hwnas.export.bundle import calibration_samples, evaluate_file
from hwnas.plugins import load_plugin
from hwnas.runtimes.cpu_flags import read_cpu_flags

GOAL = {"mean_difference_points": 0.3, "spearman": 0.95}


def drawn(ground: Ground, count: int) -> list[Candidate]:
    """Candidates of the joint space, at int8, each once."""
    joint, rng = ground.targets.joint, np.random.default_rng(1)
    found: dict[Candidate, None] = {}
    while len(found) < count:
        one = joint.sample(rng)
        found[joint.canonical(Candidate(one.architecture, CompressionPlan.of("int8", dict(one.compression.prune))))] = (
            None
        )
    return list(found)


def row_of(candidate: Candidate, evaluator: InheritedEvaluator, runtimes: list[str], n: int) -> dict[str, float]:
    """Accuracies on the first `n` validation samples: at full precision, simulated, and of each runtime's file."""
    task = evaluator.task
    full = Candidate(candidate.architecture, CompressionPlan.of("fp32", dict(candidate.compression.prune)))
    row = {"fp32": evaluator.evaluate(full).accuracy, "simulated": evaluator.evaluate(candidate).accuracy}
    split = Split(task.validation.inputs[:n], task.validation.labels[:n])
    spec = ExportSpec(
        precision="int8", input_shape=tuple(task.input_shape), n_ids=task.n_ids,
        calibration=calibration_samples(task), cpu_flags=read_cpu_flags(),
    )  # fmt: skip
    for name in runtimes:
        runtime = load_plugin("runtime", name)()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{runtime.suffix}"
            runtime.export(evaluator.network(candidate), spec, path)
            row[name] = evaluate_file(path, runtime, split, task.preprocessing, 1)
    return row


def compared(rows: list[dict[str, float]], name: str) -> dict[str, Any]:
    """One runtime's files beside the simulation, in percentage points."""
    simulated, deployed, full = (np.array([row[key] for row in rows]) for key in ("simulated", name, "fp32"))
    gap = 100 * (simulated - deployed)
    return {
        "runtime": name,
        "mean_difference_points": round(float(abs(gap).mean()), 3),
        "bias_points": round(float(gap.mean()), 3),
        "largest_difference_points": round(float(abs(gap).max()), 2),
        "spearman": round(float(spearmanr(simulated, deployed).statistic), 4),
        "lost_at_int8_points": round(float(100 * (full - deployed).mean()), 3),
        "deployed_accuracy": [round(float(deployed.min()), 4), round(float(deployed.max()), 4)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--candidates", type=int, default=30)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino"])
    args = parser.parse_args()
    ground = Ground(args.run)
    evaluator = copy.copy(ground.source)
    assert isinstance(evaluator, InheritedEvaluator)
    evaluator.limit = args.samples
    rows = []
    for candidate in drawn(ground, args.candidates):
        with threads_for(ground.effort.batch_macs):
            rows.append(row_of(candidate, evaluator, args.runtimes, evaluator.n_read))
        print(len(rows), rows[-1], flush=True)
    figures = {
        "goal": GOAL, "space": ground.targets.first.space.name, "task": ground.targets.first.task.name,
        "samples": evaluator.n_read, "compared": [compared(rows, name) for name in args.runtimes], "rows": rows,
    }  # fmt: skip
    record("simulated", "python benchmarks/compression/simulated.py RUN", figures)


if __name__ == "__main__":
    main()
