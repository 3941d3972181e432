"""Cheap evaluations first: after a search the best third is evaluated more closely, and the best third of these again.

Latency is known, so a candidate competes with those that are about as fast: a ranking of all would promote the slow.
Source: successive halving, Jamieson and Talwalkar, AISTATS 2016.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.core.evaluation import Evaluator
from hwnas.errors import TrainingError
from hwnas.search.effort import Clock
from hwnas.search.events import Listener
from hwnas.search.study import Evaluated

__all__ = ["LADDER", "PROMOTED_SHARE", "Ladder", "best_of_neighbours"]

LADDER = "ladder.jsonl"
PROMOTED_SHARE = 1 / 3
GROUP = 9  # neighbours in latency that compete


@dataclass
class Ladder:
    """Evaluates the best candidates again, by evaluators that cost more; what it found is kept in the run folder.

    Attributes:
        first: evaluator of the search; those that follow are what its `closer` gives.
        folder: of the run.
        listener: is told of each step.
    """

    first: Evaluator
    folder: Path
    listener: Listener

    def climb(self, records: Sequence[Evaluated], clock: Clock) -> list[Evaluated]:
        """The records, those that were promoted with the accuracy of the highest rung that they reached.

        Args:
            records: what the search evaluated.
            clock: no evaluation begins when it has run out.
        """
        known, found = self._known(), {record.number: record for record in records}
        here, evaluator, rung = [r for r in records if r.accuracy is not None], self.first.closer(), 1
        while evaluator is not None and here:
            chosen = best_of_neighbours(here)
            self.listener.phase("evaluate the best closer", len(chosen))
            here = []
            for record in chosen:
                key = rung, record.candidate.id
                if key not in known:
                    if clock.left_s == 0:
                        break
                    known[key] = self._evaluate(evaluator, record, rung)
                self.listener.advance()
                if (accuracy := known[key]) is not None:
                    found[record.number] = replace(record, accuracy=accuracy)
                    here.append(found[record.number])
            evaluator, rung = evaluator.closer(), rung + 1
        return list(found.values())

    def _evaluate(self, evaluator: Evaluator, record: Evaluated, rung: int) -> float | None:
        try:
            accuracy = evaluator.evaluate(record.candidate).accuracy
        except TrainingError as error:
            self.listener.note(f"keeps its first accuracy: {error}")
            accuracy = None
        line = {"rung": rung, "id": record.candidate.id, "accuracy": accuracy}
        with (self.folder / LADDER).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return accuracy

    def _known(self) -> dict[tuple[int, str], float | None]:
        """What earlier sessions found; a line that was half written is found again."""
        path, known = self.folder / LADDER, {}
        if path.exists():
            whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            for line in map(json.loads, whole):
                known[int(line["rung"]), str(line["id"])] = line["accuracy"]
            if sum(map(len, whole)) < path.stat().st_size:
                path.write_text("".join(whole))
        return known


def best_of_neighbours(records: Sequence[Evaluated]) -> list[Evaluated]:
    """The best third by accuracy of each group of about `GROUP` that are alike in latency, on one device at least.

    Of equally accurate ones the faster.
    """
    accuracy = np.array([record.accuracy for record in records], dtype=np.float64)
    chosen = np.zeros(len(records), dtype=bool)
    for device in records[0].latency_ms:
        order = np.argsort([record.latency_ms[device] for record in records], kind="stable")
        for group in np.array_split(order, math.ceil(len(order) / GROUP)):
            ranked = group[np.argsort(-accuracy[group], kind="stable")]
            chosen[ranked[: math.ceil(PROMOTED_SHARE * len(group))]] = True
    return [record for record, is_chosen in zip(records, chosen, strict=True) if is_chosen]
