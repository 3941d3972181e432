"""Which candidates of a front are finished, how many, and until when: one at a time, or several elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hwnas.core.candidate import Candidate
from hwnas.elastic.threads import threads_for
from hwnas.errors import HwnasError, RuntimeExportError, TrainingError
from hwnas.search.effort import Clock, Effort, finish_epochs, finish_factors, finish_seconds, finish_shrink
from hwnas.search.evaluated import Evaluated
from hwnas.search.events import Listener
from hwnas.search.finish import Finished, Finisher, NetworkSource
from hwnas.search.frontier import still_wanted
from hwnas.search.joint import JointSpace
from hwnas.search.pool import InTurn, Pool
from hwnas.search.targets import Targets

__all__ = ["LEAST_FINISHED", "FinishJob", "Finishing", "make_finisher"]

LEAST_FINISHED = 3  # models, however short the time: fewer are no front
_LEAST_EXTRA_S = 10.0  # of a given time, for a model that makes up for another


@dataclass(frozen=True, slots=True)
class FinishJob:
    """A candidate to finish, and with how much effort.

    Attributes:
        candidate: what it is.
        macs: of the network on a whole image.
        epochs, shrink, stop_after_s: see `Finisher.finish`.
    """

    candidate: Candidate
    macs: int
    epochs: int
    shrink: int
    stop_after_s: float | None

    def by(self, finisher: Finisher) -> Finished:
        """Do it here."""
        with threads_for(self.macs * finisher.batch_size):
            return finisher.finish(
                self.candidate, epochs=self.epochs, shrink=self.shrink, stop_after_s=self.stop_after_s
            )


def make_finisher(
    source: NetworkSource, targets: Targets, folder: Path, effort: Effort, seed: int, cpu_flags: frozenset[str]
) -> Finisher:
    """What finishes the models of a search in a folder.

    Args:
        cpu_flags: of the CPU that int8 weights must suit; `targets.cpu_flags` on the machine that searches.
    """
    task, (runtime, *others) = targets.first.task, targets.runtimes
    shrink = finish_factors(effort, task)[-1]
    is_measured = all(setup.device.can_be_measured for setup in targets.setups)
    return Finisher(
        *(source, task, runtime, folder, cpu_flags, seed),
        teacher_shrink=shrink,
        others=tuple(others),
        may_mix=is_measured and "fp32" in targets.first.precisions,
    )


@dataclass
class Finishing:
    """Finishes candidates in a given order until enough of them stay on the front, or the time is up.

    Attributes:
        finisher: knows what is finished already.
        joint: what is searched.
        effort: of each model.
        clock: ends fine-tuning, and finishing.
        listener: is told of each model.
        pool: where models are finished; None: here, one after the other.
    """

    finisher: Finisher
    joint: JointSpace
    effort: Effort
    clock: Clock
    listener: Listener
    pool: Pool[FinishJob, Finished] | None = None
    _finished: list[tuple[Evaluated, Finished]] = field(default_factory=list)
    _begun: dict[Candidate, Evaluated] = field(default_factory=dict)
    _failed: list[TrainingError | RuntimeExportError] = field(default_factory=list)

    def run(self, order: Sequence[Evaluated], wanted: int, *, needed: bool = True) -> list[tuple[Evaluated, Finished]]:
        """Finish `wanted` candidates, then up to half as many more until three quarters of them are on the front.

        Args:
            order: candidates, the first one first.
            needed: it is an error if none can be finished.
        Raises:
            TrainingError, RuntimeExportError: none could.
        """
        pool: Pool[FinishJob, Finished] = self.pool or InTurn(lambda job: job.by(self.finisher))
        self.listener.phase("finish", wanted)
        self._finished, self._begun, self._failed = [], {}, []
        macs, at = [self.joint.operations(record.candidate).macs for record in order], 0
        while True:
            goes_on = at < len(order) and self._lacks(wanted) and not self._time_is_up
            if goes_on and pool.n_free:
                left = max(1, wanted - len(self._finished) - len(self._begun))
                self._begin(pool, order[at], macs[at : at + left : pool.size])  # what this part of the pool has ahead
                at += 1
            elif goes_on or self._begun:
                self._take_next(pool)
            else:
                break
        if at < len(order) and self._time_is_up and self._lacks(wanted):
            self.listener.note(f"the time is up: {len(self._finished)} of {wanted} models are finished")
        if needed and self._failed and not self._finished:
            raise self._failed[0]
        return self._finished

    def _lacks(self, wanted: int) -> bool:
        """Whether one more must begin, even if all those that have begun turn out well."""
        kept, n = len(still_wanted(self._finished)) + len(self._begun), len(self._finished) + len(self._begun)
        if n < wanted:
            return True
        # What finishing moved behind others is made up for, but not without end.
        left_s = self.clock.left_s
        return 4 * kept < 3 * wanted and 2 * n < 3 * wanted and (left_s is None or left_s >= _LEAST_EXTRA_S)

    @property
    def _time_is_up(self) -> bool:
        return len(self._finished) >= LEAST_FINISHED and self.clock.left_s == 0

    def _begin(self, pool: Pool[FinishJob, Finished], record: Evaluated, ahead: Sequence[int]) -> None:
        """Begin a model, unless an earlier session has finished it."""
        made, macs, task = self.finisher.known(record.candidate), ahead[0], self.finisher.task
        if made is not None:
            self._add(record, made)
            return
        shrink = finish_shrink(self.effort, macs, task)
        epochs = finish_epochs(self.effort, macs, len(task.train), shrink)
        self._begun[record.candidate] = record
        pool.begin(FinishJob(record.candidate, macs, epochs, shrink, finish_seconds(self.clock, ahead)))

    def _take_next(self, pool: Pool[FinishJob, Finished]) -> None:
        ended = pool.next()
        if ended is None:
            return
        job, outcome = ended
        record = self._begun.pop(job.candidate)
        if isinstance(outcome, TrainingError | RuntimeExportError):
            self.listener.note(f"model {job.candidate.id} is left out: {outcome}")
            self._failed.append(outcome)
        elif isinstance(outcome, HwnasError):
            raise outcome
        else:
            self._add(record, outcome)

    def _add(self, record: Evaluated, made: Finished) -> None:
        before = len(still_wanted(self._finished))
        self._finished.append((record, made))
        gained = max(0, len(still_wanted(self._finished)) - before)
        self.listener.advance(gained, made=len(self._finished), accuracy=made.test.accuracy)
