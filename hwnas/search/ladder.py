"""Cheap evaluations first: after a search the best third is evaluated more closely, and the best third of these again.

Latency is known, so a candidate competes with those that are about as fast: a ranking of all would promote the slow.
Source: successive halving, Jamieson and Talwalkar, AISTATS 2016.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation, Evaluator
from hwnas.errors import HwnasError, TrainingError
from hwnas.search.effort import Clock
from hwnas.search.evaluated import Evaluated
from hwnas.search.events import Listener
from hwnas.search.pool import InTurn, Pool
from hwnas.store import write_atomic

__all__ = ["CLOSER", "GROUP", "LADDER", "PROMOTED_SHARE", "Ladder", "Rung", "best_of_neighbours"]

LADDER = "ladder.jsonl"
CLOSER = "evaluate the best closer"  # the phase
PROMOTED_SHARE = 1 / 3
GROUP = 9  # neighbours in latency that compete


@dataclass(frozen=True, slots=True)
class Rung:
    """A candidate to evaluate closer: 1 is the first time after the search."""

    number: int
    candidate: Candidate

    def by(self, evaluator: Evaluator) -> Evaluation:
        """Do it, given the evaluator of the search."""
        for _ in range(self.number):
            closer = evaluator.closer()
            assert closer is not None
            evaluator = closer
        return evaluator.evaluate(self.candidate)


@dataclass
class Ladder:
    """Evaluates the best candidates again, by evaluators that cost more; what it found is kept in the run folder.

    Attributes:
        first: evaluator of the search; those that follow are what its `closer` gives.
        folder: of the run.
        listener: is told of each step.
        pool: where candidates are evaluated; None: here, one after the other.
    """

    first: Evaluator
    folder: Path
    listener: Listener
    pool: Pool[Rung, Evaluation] | None = None

    def climb(self, records: Sequence[Evaluated], clock: Clock) -> list[Evaluated]:
        """The records, those that were promoted with the accuracy of the highest rung that they reached.

        Args:
            records: what the search evaluated.
            clock: no evaluation begins when it has run out.
        """
        known, found = self._known(), {record.number: record for record in records}
        here, evaluator, number = [r for r in records if r.accuracy is not None], self.first.closer(), 1
        while evaluator is not None and here:
            rungs = {Rung(number, record.candidate): record for record in best_of_neighbours(here)}
            if new := [rung for rung in rungs if rung not in known]:
                self.listener.phase(CLOSER, len(new))
                self._evaluate(new, known, clock)
            here = [
                replace(record, accuracy=accuracy)
                for rung, record in rungs.items()
                if (accuracy := known.get(rung)) is not None
            ]
            found |= {record.number: record for record in here}
            evaluator, number = evaluator.closer(), number + 1
        return list(found.values())

    def _evaluate(self, rungs: Sequence[Rung], known: dict[Rung, float | None], clock: Clock) -> None:
        """Bring what is known up to date; each result is kept before anything else begins."""
        pool = self.pool or InTurn(lambda rung: rung.by(self.first))
        waiting, n_begun = deque(rungs), 0
        while n_begun or (waiting and clock.left_s != 0):
            if waiting and pool.n_free and clock.left_s != 0:
                pool.begin(waiting.popleft())
                n_begun += 1
            elif (ended := pool.next()) is not None:
                n_begun -= 1
                rung, outcome = ended
                known[rung] = self._kept(rung, outcome)
                self.listener.advance()

    def _kept(self, rung: Rung, outcome: Evaluation | HwnasError) -> float | None:
        accuracy = None if isinstance(outcome, HwnasError) else outcome.accuracy
        if isinstance(outcome, TrainingError):
            self.listener.note(f"keeps its first accuracy: {outcome}")
        elif isinstance(outcome, HwnasError):
            raise outcome
        line = {"rung": rung.number, "candidate": rung.candidate.to_json(), "accuracy": accuracy}
        with (self.folder / LADDER).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return accuracy

    def _known(self) -> dict[Rung, float | None]:
        """What earlier sessions found; a line that was half written is found again."""
        path, known = self.folder / LADDER, dict[Rung, float | None]()
        if path.exists():
            whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            for line in map(json.loads, whole):
                known[Rung(int(line["rung"]), Candidate.from_json(line["candidate"]))] = line["accuracy"]
            if sum(map(len, whole)) < path.stat().st_size:
                write_atomic(path, "".join(whole).encode())
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
