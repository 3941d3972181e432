"""The processes of a search on a cluster: each evaluates candidates and finishes models, one at a time."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from hwnas.accuracy.trained import RUNGS, weights_name
from hwnas.core.candidate import Candidate
from hwnas.core.error_text import first_line
from hwnas.core.evaluation import Evaluation
from hwnas.elastic.train import REPORT, WEIGHTS
from hwnas.errors import ClusterError, HwnasError, TrainingError
from hwnas.search.cluster import Cluster
from hwnas.search.config import SearchConfig
from hwnas.search.effort import Effort
from hwnas.search.evaluators import TRAINED, make_evaluators
from hwnas.search.events import Listener, Silent
from hwnas.search.finish import Finished, Finisher
from hwnas.search.finishing import FinishJob, make_finisher
from hwnas.search.ladder import Rung
from hwnas.search.pool import Pool
from hwnas.search.resident import (
    LEAVE_S,
    MOST_LOSSES,
    PATIENCE_S,
    Files,
    Reply,
    Resident,
    error_of,
    read_files,
    write_files,
)
from hwnas.search.runfolder import RunFolder
from hwnas.search.targets import Targets

__all__ = ["Actors", "Kit", "SearchActor"]

NOTE_S = 30.0  # without any process, until that is said

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class Kit:
    """What a process needs to do its part of a search; Ray keeps it once on each machine.

    Attributes:
        config: of the search.
        targets: with the data.
        effort: of each evaluation and of finishing.
        weight_bits: of int8 weights.
        cpu_flags: of the CPU that they must suit, which is not that of a process elsewhere.
        supernet: its files, if the space has one.
    """

    config: SearchConfig
    targets: Targets
    effort: Effort
    weight_bits: int
    cpu_flags: frozenset[str]
    supernet: Files

    @classmethod
    def of(cls, folder: RunFolder, targets: Targets, effort: Effort, weight_bits: int) -> Kit:
        """That of a search whose supernet is trained."""
        supernet = read_files(folder.path, (WEIGHTS, REPORT))
        return cls(folder.config, targets, effort, weight_bits, targets.cpu_flags, supernet)


class SearchActor(Resident):
    """Evaluates candidates and finishes models."""

    def _take(self, kit: Kit) -> str:
        write_files(self.folder, kit.supernet)
        folder, seed = RunFolder(self.folder, kit.config), kit.config.seed
        self.evaluator, source = make_evaluators(
            folder, kit.targets, kit.effort, Silent(), trained=True, bits=kit.weight_bits
        )
        self.finisher = make_finisher(source, kit.targets, self.folder, kit.effort, seed, kit.cpu_flags)
        return self.name

    def evaluate(self, candidate: Candidate, files: Files) -> Reply:
        """Evaluate a candidate; the files are weights that are known, those of the reply are new."""
        return self._with_files(lambda: self.evaluator.evaluate(candidate), files, _weights_of(candidate))

    def look_closer(self, rung: Rung, files: Files) -> Reply:
        """Evaluate a candidate closer; files as in `evaluate`."""
        return self._with_files(lambda: rung.by(self.evaluator), files, _weights_of(rung.candidate))

    def finish(self, job: FinishJob, files: Files) -> Reply:
        """Finish a model; the files of the reply are its bundle."""
        bundle = _bundle_of(job.candidate)
        try:
            return self._with_files(lambda: job.by(self.finisher), files, [bundle])
        finally:
            shutil.rmtree(self.folder / bundle, ignore_errors=True)

    def _with_files(self, do: Callable[[], Any], files: Files, made: Sequence[str]) -> Reply:
        write_files(self.folder, files)
        reply = self._replying(do)
        if reply.error is not None:
            return reply
        new = [name for one in made for name in _below(self.folder, one) if name not in files]
        return replace(reply, files=read_files(self.folder, new))


class Actors:
    """The processes on a cluster, as pools: each gets one job at a time, a lost one is made again.

    Args:
        cluster: where they run; it is connected now.
        kit: what they need.
        folder: the run folder.
        listener: is told of processes that are lost.
    Raises:
        ClusterError: the cluster has other versions.
    """

    def __init__(self, cluster: Cluster, kit: Kit, folder: Path, listener: Listener) -> None:
        self.cluster, self.folder, self.listener = cluster, folder, listener
        cluster.connect()
        cluster.check_versions()
        n, self._each = cluster.share()
        self._kit = cluster.ray.put(kit)
        self._starting: dict[Any, Any] = {}  # reference to the first answer -> process
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, str, Any]] = {}  # reference to the answer -> process, method, job
        self._again: deque[tuple[str, Any]] = deque()  # what lost processes had
        self._losses: Counter[Any] = Counter()
        self._failed_starts = 0
        self._names: dict[Any, str] = {}
        wanted = kit.config.trials_wanted
        for _ in range(n if wanted is None else min(n, wanted)):
            self._start()
        listener.note(f"processes on the cluster that evaluate and finish: {self.size}")

    def evaluating(self) -> Pool[Candidate, Evaluation]:
        """Evaluates candidates; weights that are trained on the way are kept in the run folder."""
        return _Tasks(self, "evaluate", lambda candidate: candidate, lambda candidate, evaluation: evaluation)

    def looking_closer(self) -> Pool[Rung, Evaluation]:
        """Evaluates candidates closer; weights as in `evaluating`."""
        return _Tasks(self, "look_closer", lambda rung: rung.candidate, lambda rung, evaluation: evaluation)

    def finishing(self, finisher: Finisher) -> Pool[FinishJob, Finished]:
        """Finishes models: the run folder has their files when they are handed back, as `finisher` checks."""

        def checked(job: FinishJob, _: Finished) -> Finished:
            made = finisher.known(job.candidate)
            if made is None:
                raise ClusterError(f"the files of model {job.candidate.id} came damaged from the cluster; try again")
            return made

        return _Tasks(self, "finish", lambda job: job.candidate, checked)

    @property
    def size(self) -> int:
        """Processes, those that are about to begin included."""
        return len(self._idle) + len(self._busy) + len(self._starting)

    @property
    def n_free(self) -> int:
        """Processes without a job."""
        return max(0, len(self._idle) - len(self._again))

    def begin(self, method: str, job: Any, candidate: Candidate) -> None:
        """Give a job to a process that has none."""
        actor, weights = self._idle.pop(0), _weights_of(candidate)
        files = read_files(self.folder, weights)
        self._busy[getattr(actor, method).remote(job, files)] = (actor, method, job)

    def next(self, candidate_of: Callable[[Any], Candidate]) -> tuple[Any, Reply] | None:
        """Wait until a job has ended; None: the number of processes has changed, or is looked at again.

        Raises:
            ClusterError: there are no processes, and there will be none.
        """
        while self._again and self._idle:
            method, job = self._again.popleft()
            self.begin(method, job, candidate_of(job))
        ended = self._wait()
        if ended in self._starting:
            self._join(ended)
            return None
        actor, method, job = self._busy.pop(ended)
        try:
            reply = self.cluster.ray.get(ended)
        except self.cluster.ray.exceptions.RayTaskError:
            raise  # a fault of ours, or of the user's space
        except self.cluster.ray.exceptions.RayError:
            return self._lost(actor, method, job, candidate_of(job))
        self._idle.append(actor)
        return job, reply

    def close(self) -> None:
        """End the processes."""
        ray, idle = self.cluster.ray, self._idle
        try:
            ray.wait([actor.leave.remote() for actor in idle], num_returns=len(idle), timeout=LEAVE_S) if idle else None
            for actor in [*idle, *self._starting.values(), *(actor for actor, *_ in self._busy.values())]:
                ray.kill(actor)
        except (ray.exceptions.RayError, ConnectionError):
            pass  # with the cluster, they are gone

    def _start(self) -> None:
        home = None if self.cluster.home is None else str(self.cluster.home)
        made = self.cluster.ray.remote(**self._each)(SearchActor)
        actor = made.remote(int(self._each["num_cpus"]), home)
        self._starting[actor.prepare.remote([self._kit])] = actor

    def _wait(self) -> Any:
        """The reference to what ends next."""
        ray, waited_s = self.cluster.ray, 0.0
        while True:
            try:
                ended, _ = ray.wait([*self._busy, *self._starting], num_returns=1, timeout=NOTE_S)
            except (ray.exceptions.RayError, ConnectionError) as error:
                raise self.cluster.lost(error) from error
            if ended:
                return ended[0]
            waited_s = 0.0 if self._busy else waited_s + NOTE_S
            if waited_s == NOTE_S:
                self.listener.note("waiting for the cluster: it has no room for a process yet")
            if waited_s >= PATIENCE_S:
                raise ClusterError(
                    f"the cluster had no room for a process in {PATIENCE_S / 60:.0f} minutes; see `ray status`, and go "
                    "on with --resume"
                )

    def _join(self, ref: Any) -> None:
        """Take in a process that is ready."""
        actor = self._starting.pop(ref)
        try:
            reply = self.cluster.ray.get(ref)
        except self.cluster.ray.exceptions.RayTaskError:
            raise
        except self.cluster.ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= MOST_LOSSES:
                raise ClusterError(
                    f"processes on the cluster end before they can begin ({first_line(error)}); see Ray's logs, and go "
                    "on with --resume"
                ) from error
            self._start()
            return
        if reply.error is not None:
            raise error_of(reply.error)
        self._failed_starts = 0
        self._names[actor] = reply.value
        self._idle.append(actor)

    def _lost(self, actor: Any, method: str, job: Any, candidate: Candidate) -> tuple[Any, Reply] | None:
        """Make a process again; another one does its job, unless that has lost too many."""
        name = self._names.pop(actor, "?")
        self.cluster.ray.kill(actor)  # where it could only not be reached, it may live
        self.cluster.check_versions()
        self._start()
        self._losses[job] += 1
        if self._losses[job] >= MOST_LOSSES:
            said = f"candidate {candidate.id}: {MOST_LOSSES} processes on the cluster ended over it (out of memory?)"
            return job, Reply(error=(TrainingError.__name__, said))
        done = "finished" if method == "finish" else "evaluated"
        self.listener.note(f"process {name} was lost; candidate {candidate.id} is {done} again by another")
        self._again.append((method, job))
        return None


@dataclass
class _Tasks(Generic[J, R]):
    """One kind of job for the processes."""

    actors: Actors
    method: str
    candidate_of: Callable[[J], Candidate]
    result: Callable[[J, R], R]

    @property
    def size(self) -> int:
        """See Pool."""
        return self.actors.size

    @property
    def n_free(self) -> int:
        """See Pool."""
        return self.actors.n_free

    def begin(self, job: J) -> None:
        """See Pool."""
        self.actors.begin(self.method, job, self.candidate_of(job))

    def next(self) -> tuple[J, R | HwnasError] | None:
        """See Pool."""
        ended = self.actors.next(self.candidate_of)
        if ended is None:
            return None
        job, reply = ended
        if reply.error is not None:
            return job, error_of(reply.error)
        candidate = self.candidate_of(job)
        allowed = [_bundle_of(candidate)] if self.method == "finish" else _weights_of(candidate)
        write_files(self.actors.folder, reply.files or {}, within=allowed)
        return job, self.result(job, reply.value)


def _weights_of(candidate: Candidate) -> list[str]:
    """Where the weights of a candidate that was trained alone are kept, after each training."""
    return [f"{TRAINED}/{weights_name(candidate, rung)}" for rung in range(RUNGS)]


def _bundle_of(candidate: Candidate) -> str:
    return f"models/{candidate.id}"


def _below(folder: Path, name: str) -> list[str]:
    """The file of this name, or all files of the folder of this name, without those that are not whole."""
    path = folder / name
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file.relative_to(folder).as_posix() for file in files if file.is_file()]
