"""Architecture and compression searched together, or one after the other: writes results/<date>-joint.json.

    python benchmarks/compression/joint.py RUN [--trials 100] [--seeds 3] [--finish 20] [--models 8]

RUN is a finished search over a weight-shared space with a device that is this machine; its supernet and its predictors
serve both ways. Together: TRIALS evaluations over architecture, precision and pruning. One after the other: half of the
evaluations over architectures alone, at fp32 and whole; then the other half over precision and pruning of the MODELS
best of them. MODELS of each way are finished, as long each, exported and measured in one session, in turns. Told is the
hypervolume by measured latency and by the deployed file's accuracy on the test split.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from ground import Ground
from record import record

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation, Evaluator
from hwnas.core.measurement import Measurement
from hwnas.core.ops import OpList
from hwnas.core.pareto import hypervolume_within
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskLike
from hwnas.elastic.threads import threads_for
from hwnas.export.bundle import artifacts_of
from hwnas.measure.session import MeasureItem, measure_files
from hwnas.search.evaluated import Evaluated
from hwnas.search.finish import Finished, finishing_order
from hwnas.search.finishing import make_finisher
from hwnas.search.setup import THREADS
from hwnas.search.targets import Targets
from hwnas.search.together import reference_of

GOAL = 1.05


class Few(SearchSpace):
    """Some architectures of a space, by number, those with fewer multiply-adds first."""

    weight_shared = True

    def __init__(self, whole: SearchSpace, architectures: Sequence[Architecture], task: TaskLike) -> None:
        self.whole, self.few = whole, tuple(architectures)
        super().__init__("few", [Choice("network", tuple(range(len(self.few))))], whole.build)

    @property
    def stages(self) -> tuple[str, ...]:
        return self.whole.stages

    def prune_ratios(self, stage: str) -> tuple[float, ...]:
        return self.whole.prune_ratios(stage)

    def of_whole(self, candidate: Candidate) -> Candidate:
        """The candidate of the space that they are of."""
        return Candidate(self.few[int(candidate.architecture["network"])], candidate.compression)

    def operations(self, candidate: Candidate, *, multiple: int = 8) -> OpList:
        found: OpList = self.whole.operations(self.of_whole(candidate), multiple=multiple)  # type: ignore[attr-defined]
        return found


@dataclass
class Translated:
    """Evaluates candidates of `Few`."""

    few: Few
    evaluator: Evaluator

    def evaluate(self, candidate: Candidate) -> Evaluation:
        return self.evaluator.evaluate(self.few.of_whole(candidate))


def with_setup(targets: Targets, **changed: Any) -> Targets:
    return Targets((replace(targets.first, **changed),))


def one_after_the_other(ground: Ground, seed: int, trials: int, models: int) -> list[Evaluated]:
    """Architectures first, then their compression."""
    setup = ground.targets.first
    alone = with_setup(ground.targets, precisions=("fp32",), stages=())
    first = ground.search("hypervolume", seed, trials // 2, targets=alone)
    best = [one.candidate for one in finishing_order(first, models)[:models]]
    best.sort(key=lambda candidate: ground.targets.joint.operations(candidate).macs)
    few = Few(setup.space, [candidate.architecture for candidate in best], setup.task)
    later = ground.search(
        "hypervolume", seed, trials - trials // 2,
        targets=with_setup(ground.targets, space=few), evaluator=Translated(few, ground.evaluator),
    )  # fmt: skip
    found = {one.candidate: one for one in first}
    for one in later:
        candidate = ground.targets.joint.canonical(few.of_whole(one.candidate))
        found.setdefault(candidate, replace(one, number=len(found), candidate=candidate))
    return list(found.values())


def finished(
    ground: Ground, records: Sequence[Evaluated], models: int, finish_s: float, folder: Path
) -> list[Finished]:
    """The best of them, finished as long each."""
    finisher = make_finisher(ground.source, ground.targets, folder, ground.effort, 0, ground.targets.cpu_flags)
    done = []
    for one in finishing_order(records, models)[:models]:
        with threads_for(ground.effort.batch_macs):
            done.append(finisher.finish(one.candidate, epochs=60, stop_after_s=finish_s))
        print(done[-1].candidate.id, done[-1].test.accuracy, flush=True)
    return done


def measured(ground: Ground, ways: Mapping[str, tuple[Path, list[Finished]]]) -> dict[str, list[dict[str, Any]]]:
    """Latency and accuracy of all models, measured in one session."""
    setup = ground.targets.first
    every = [(way, folder, made) for way, (folder, models) in ways.items() for made in models]
    items = [
        MeasureItem(
            made.candidate, folder / artifacts_of(made.manifest)[0]["path"], made.candidate.compression.precision,
            tuple(setup.task.input_shape), setup.task.n_ids,
        )
        for _, folder, made in every
    ]  # fmt: skip
    found = measure_files(
        items, device=setup.device.name, runtime=setup.runtime.name, threads=THREADS, seconds_per_model=2.5
    )
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for (way, _, made), result in zip(every, found, strict=True):
        if isinstance(result, Measurement):
            plan = made.candidate.compression
            rows[way].append(
                {
                    "ms": round(result.percentile_ms(10), 5), "accuracy": round(made.test.accuracy, 4),
                    "precision": plan.precision, "prune": dict(plan.prune), "stable": result.stable,
                }
            )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--finish", type=float, default=20.0, help="seconds for each model")
    parser.add_argument("--models", type=int, default=8)
    args = parser.parse_args()
    ground = Ground(args.run)
    device = ground.targets.devices[0]
    corner = reference_of(ground.budget())[device]
    rows = []
    for seed in range(args.seeds):
        searched = {
            "together": ground.search("hypervolume", seed, args.trials),
            "one after the other": one_after_the_other(ground, seed, args.trials, args.models),
        }
        with tempfile.TemporaryDirectory() as home:
            ways = {}
            for way, records in searched.items():
                folder = Path(home) / way.replace(" ", "-")
                ways[way] = (folder, finished(ground, records, args.models, args.finish, folder))
            models = measured(ground, ways)
        areas = {
            way: hypervolume_within(np.array([(m["ms"], 1 - m["accuracy"]) for m in found]), corner)
            for way, found in models.items()
        }
        ratio = areas["together"] / areas["one after the other"]
        rows.append({"seed": seed, "hypervolume": areas, "ratio": round(ratio, 4), "models": models})
        print(seed, areas, ratio, flush=True)
    ratios = np.array([row["ratio"] for row in rows])
    what = {"device": device, "space": ground.targets.first.space.name, "task": ground.targets.first.task.name}
    figures = {
        "goal": GOAL, **what, "trials": args.trials, "finish_s": args.finish, "reference": list(corner),
        "ratio": [round(float(ratios.mean()), 4), round(float(ratios.std()), 4)], "rows": rows,
    }  # fmt: skip
    record("joint", f"python benchmarks/compression/joint.py RUN --trials {args.trials}", figures)


if __name__ == "__main__":
    main()
