"""The loop: propose, check the budgets, evaluate, tell; bounded retries, no candidate twice."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.evaluation import Evaluation, Evaluator
from hwnas.core.pareto import hypervolume_within, is_non_dominated
from hwnas.errors import HwnasError, TrainingError
from hwnas.search.budget import Budget
from hwnas.search.evaluated import Evaluated
from hwnas.search.events import Listener
from hwnas.search.pool import InTurn, Pool
from hwnas.search.study import Proposal, SearchStudy

__all__ = ["LEAST_EVALUATED", "FrontTracker", "Loop"]

LEAST_EVALUATED = 4
MAX_ATTEMPTS = 100  # proposals for one evaluation; a refused one is followed by its replacement
NOTED_FAILURES = 3
FAILURES_BEFORE_STOP = 10  # of the first evaluations; a search in which nothing works should say so early


@dataclass
class FrontTracker:
    """What was evaluated so far and is on the front of at least one device.

    Attributes:
        reference: device -> (latency in ms, error): the bad corner of its hypervolume.
    """

    reference: Mapping[str, tuple[float, float]]
    records: list[Evaluated] = field(default_factory=list)

    def add(self, record: Evaluated) -> None:
        """Take one more evaluation; a failed one changes nothing."""
        if record.accuracy is None:
            return
        records = [*self.records, record]
        kept = np.array([is_non_dominated(costs_of(records, device)) for device in self.reference])
        self.records = [r for r, on in zip(records, kept.T, strict=True) if on.any()]

    @property
    def hypervolume(self) -> float:
        """Area in ms between the front and the reference point; points beyond it count nothing.

        Of several devices, the geometric mean: a gain of a tenth counts alike on a slow and on a fast one.
        """
        areas = [
            hypervolume_within(costs_of(self.records, device), corner) for device, corner in self.reference.items()
        ]
        return math.prod(areas) ** (1 / len(areas)) if len(areas) > 1 else areas[0]


def costs_of(records: Sequence[Evaluated], device: str) -> NDArray[np.float64]:
    """`n x 2`: predicted latency in ms on a device, error."""
    rows = [(record.latency_ms[device], 1 - (record.accuracy or 0.0)) for record in records]
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


@dataclass
class Loop:
    """Runs a study until enough candidates are evaluated, the time is up, or all candidates were seen.

    Attributes:
        study: proposes and remembers.
        budget: hard limits.
        evaluator: accuracy of a candidate.
        listener: is told of each step.
        tracker: the front so far.
        seed: of repairs.
        n_trials: evaluations wanted; None: until `deadline_s`.
        deadline_s: on the monotonic clock; None: none. A few candidates are evaluated even if it has passed: a short
            time on a slow machine gives a poor front, not an empty one.
        pool: where candidates are evaluated; None: by `evaluator`, one after the other.
    """

    study: SearchStudy
    budget: Budget
    evaluator: Evaluator
    listener: Listener
    tracker: FrontTracker
    seed: int
    n_trials: int | None
    deadline_s: float | None = None
    pool: Pool[Candidate, Evaluation] | None = None
    _failures: int = 0

    def run(self) -> list[Evaluated]:
        """Evaluate; the records of this and of earlier sessions.

        Raises:
            TrainingError: each of the first evaluations failed; the message holds the first cause.
            BuildError: the space could not build a candidate.
        """
        pool = self.pool or InTurn(self.evaluator.evaluate)
        begun: dict[Candidate, Proposal] = {}
        known = self._take_in(0)
        while begun or not self._enough():
            if pool.n_free and not self._enough():
                proposal = self.study.claims.retrying(self._propose)
                known = self._take_in(known)
                if proposal is not None:
                    self.study.begin(proposal)
                    begun[proposal.candidate] = proposal
                    pool.begin(proposal.candidate)
                    continue
                if not begun and self._is_over():
                    break
            if begun or not pool.n_free:
                self._tell_next(pool, begun)
                known = self._take_in(known)
                self._check_failures()
        return self.study.evaluated

    def _is_over(self) -> bool:
        """Whether nothing more will be proposed, when nothing is, and nothing is evaluated here."""
        if self._enough():
            return True
        if self.study.running:  # if one of these fails, or its process dies, there is more to do
            self.study.wait()
            return False
        self.listener.note(f"all candidates within the budgets were evaluated ({len(self.study.evaluated)})")
        return True

    def _tell_next(self, pool: Pool[Candidate, Evaluation], begun: dict[Candidate, Proposal]) -> None:
        """Store the evaluation that ends next, before anything else begins."""
        ended = pool.next()
        if ended is not None:
            candidate, outcome = ended
            result = self._result(outcome)
            self.study.tell(begun.pop(candidate), self.budget.predict(candidate), result)

    def _take_in(self, known: int) -> int:
        """Add records to the front, from number `known` on: this process's own, and what others have told."""
        new = self.study.evaluated[known:]
        for record in new:
            self.tracker.add(record)
        if new:
            worked = sum(record.accuracy is not None for record in new)
            self.listener.advance(worked, front=len(self.tracker.records), hypervolume=self.tracker.hypervolume)
        return known + len(new)

    def _propose(self) -> Proposal | None:
        """The next proposal, this process's own; None if there is nothing to propose."""
        with self.study.turn():
            wanted, study = self.n_trials, self.study
            is_in_work = wanted is not None and study.n_worked + len(study.running) >= wanted
            if is_in_work or self._enough():
                return None
            proposal = self._next(study.seen | study.running if study.running else study.seen)
            if proposal is not None:
                study.claim(proposal)
            return proposal

    def _enough(self) -> bool:
        # Failed evaluations are made up for, but not without end.
        wanted, study = self.n_trials, self.study
        if study.has_ended:
            return True
        if wanted is not None and (study.n_worked >= wanted or len(study.evaluated) >= 2 * wanted):
            return True
        if self.deadline_s is None or len(study.evaluated) < LEAST_EVALUATED:
            return False
        return time.monotonic() >= self.deadline_s

    def _result(self, outcome: Evaluation | HwnasError) -> Evaluation | str:
        """The evaluation, or why it failed."""
        if isinstance(outcome, TrainingError):
            self._failures += 1
            if self._failures <= NOTED_FAILURES:
                more = "; further ones are only counted" if self._failures == NOTED_FAILURES else ""
                self.listener.note(f"not evaluated: {outcome}{more}")
            return str(outcome)
        if isinstance(outcome, HwnasError):
            raise outcome
        return outcome

    def _next(self, seen: set[Candidate]) -> Proposal | None:
        """A proposal that is sensible, within the budgets and new; None if there is none left."""
        number = self.study.n_begun
        rng = np.random.default_rng([self.seed, 1, number])
        for anchor in self._anchors(number, seen):
            self.study.enqueue(anchor)
        for _ in range(MAX_ATTEMPTS):
            proposal = self.study.ask()
            reason = self._refusal(proposal.candidate, seen)
            if reason is None:
                return proposal
            self.study.reject(proposal, reason)
            other = self._replacement(proposal.candidate, seen, rng)
            if other is None:
                return None
            self.study.enqueue(other)
        return None

    def _anchors(self, number: int, seen: set[Candidate]) -> list[Candidate]:
        """The two ends of the space begin the search, so that the front spans it from the start.

        Where all are made of one network, that is the first, whole, at each precision: all others are compared with it.
        """
        joint = self.budget.joint
        if self.study.has_open_trials:
            return []
        smallest, largest = self.budget.smallest(), joint.space.largest()
        if joint.space.of_one_network:
            whole = [Candidate(largest, CompressionPlan(precision)) for precision in joint.precisions]
            ends = [*whole, smallest]
        else:
            ends = [smallest, joint.candidate({**joint.values(smallest), **largest})]
        return [end for end in ends[number : number + 1] if self._refusal(end, seen) is None]

    def _refusal(self, candidate: Candidate, seen: set[Candidate]) -> str | None:
        if candidate in seen:
            return "evaluated before"
        if not self.budget.joint.accepts(candidate):
            return "the space does not accept it"
        excess = self.budget.excess(candidate)
        if excess == math.inf:
            return "out of the predictor's domain"
        return "over budget" if excess > 0 else None

    def _replacement(self, near: Candidate, seen: set[Candidate], rng: np.random.Generator) -> Candidate | None:
        joint = self.budget.joint
        start = near if joint.accepts(near) else None
        found = self.budget.find(start, rng, seen=seen)
        if found is not None:
            return found
        # A small space may be nearly exhausted: look at every candidate once before giving up.
        rest = [c for c in joint.all(limit=20_000) or () if self._refusal(c, seen) is None]
        return rest[int(rng.integers(len(rest)))] if rest else None

    def _check_failures(self) -> None:
        records = self.study.evaluated
        if not self.study.n_worked and len(records) >= min(FAILURES_BEFORE_STOP, self.n_trials or 10):
            first = records[0].failure
            raise TrainingError(f"each of the first {len(records)} evaluations failed, the first because: {first}")
