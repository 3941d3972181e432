"""Measure model files, here or on a board: fresh agent processes, all models interleaved over many rounds."""

from __future__ import annotations

import base64
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.errors import ConfigError, MeasurementError
from hwnas.measure.loaders import LOADERS
from hwnas.measure.process import (
    AgentDiedError,
    AgentProcess,
    AgentRefusedError,
    AgentStart,
    AgentTimeoutError,
    local_start,
)
from hwnas.measure.protocol import MIN_ROUNDS, Budget, RoundPlan, WarmUp, judge, plan_rounds, schedule, warm_up

__all__ = ["RUNTIMES", "MeasureItem", "MeasurementFailure", "Progress", "measure_files"]

RUNTIMES = tuple(LOADERS)  # that the agent can time
GROUP = 64  # models loaded at once
RELOAD_CALLS, RELOAD_MS = 10, 50.0  # thrown away after a model was loaded again between rounds, at least
PROCESSES = 4  # that take turns with the rounds of a model
MAX_REPEATS = 2  # more passes over models that were not stable
ENERGY_S = 0.5  # of calls whose energy is read, where there is a sensor
LOAD_TIMEOUT_S, ANSWER_TIMEOUT_S = 240.0, 30.0  # loading may compile

Progress = Callable[[int, int], None]
Progressed = Callable[[float], None]  # share of the work that is done


@dataclass(frozen=True, slots=True)
class MeasureItem:
    """A model file to measure.

    Attributes:
        candidate: what the file is a network of.
        path: the file.
        precision: what it computes in.
        input_shape: without the batch; it is measured at batch 1.
        n_ids: its input is int64 ids, so many of them; None: it is float32.
    """

    candidate: Candidate
    path: Path
    precision: str
    input_shape: tuple[int, ...]
    n_ids: int | None = None


@dataclass(frozen=True, slots=True)
class MeasurementFailure:
    """A candidate that could not be measured, and why."""

    candidate: Candidate
    reason: str


@dataclass(slots=True)
class _Job:
    """One item and what is known of it so far."""

    item: MeasureItem
    key: str
    warm: WarmUp | None = None
    plan: RoundPlan | None = None
    rounds: list[tuple[float, ...]] = field(default_factory=list)
    conditions: dict[str, Any] = field(default_factory=dict)  # of the machine
    energy_mj: float | None = None
    failure: str | None = None
    cut: str | None = None  # why there are no more rounds


class _LostError(AgentDiedError):
    """The board is gone, and stayed away."""


class _Session:
    """An agent that is started again when it dies, with the models that it has loaded."""

    def __init__(self, start: AgentStart, runtime: str, threads: int) -> None:
        self._start, self._runtime, self._threads = start, runtime, threads
        self._agent = AgentProcess(start, threads=threads)
        self._loaded: set[str] = set()
        self._lost = ""  # why no request is sent any more

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._agent.close()

    def info(self) -> dict[str, Any]:
        """Conditions of the machine; empty if the agent dies of the question, or is lost."""
        request = {"op": "info", "runtime": self._runtime}
        for _ in range(2):
            try:
                return self._agent.ask(request, timeout_s=LOAD_TIMEOUT_S)
            except (AgentDiedError, AgentTimeoutError):
                try:
                    self._restart()
                except _LostError:
                    return {}
        return {}

    def run(self, job: _Job, calls: int, discard: int = 0) -> list[float]:
        """Durations of `calls` calls in ms. A dead agent is started again and asked once more.

        Raises:
            MeasurementError: the model cannot be loaded or run, hangs, or ended the agent twice.
        """
        if self._lost:
            raise _LostError(self._lost)
        for last in (False, True):
            try:
                return self._try(job, calls, discard)
            except AgentDiedError:
                self._restart()
                if last:
                    raise
            except AgentTimeoutError:
                self._restart()
                raise
        raise AssertionError("the loop returns or raises")

    def _try(self, job: _Job, calls: int, discard: int) -> list[float]:
        if job.key not in self._loaded:
            path, shape = self._path(job), [1, *job.item.input_shape]
            load: dict[str, object] = {"op": "load", "runtime": self._runtime, "model": job.key}
            load |= {"path": path, "input_shape": shape, "threads": self._threads}
            if job.item.n_ids is not None:
                load["n_ids"] = job.item.n_ids
            self._agent.ask(load, timeout_s=LOAD_TIMEOUT_S)
            self._loaded.add(job.key)
            if job.rounds and job.warm is not None:
                discard = max(discard, RELOAD_CALLS, min(500, math.ceil(RELOAD_MS / job.warm.call_ms)))
        expected_s = (calls + discard) * (job.warm.call_ms if job.warm else 0.0) / 1000
        request = {"op": "run", "model": job.key, "calls": calls, "discard": discard}
        answer = self._agent.ask(request, timeout_s=ANSWER_TIMEOUT_S + 20 * expected_s)
        return [float(value) for value in answer["samples_ms"]]

    def renew(self) -> None:
        """Go on in another process; a board that is lost is found to be so by the next request."""
        if self._lost:
            return
        with contextlib.suppress(_LostError):
            self._restart()

    def energy_mj(self, job: _Job) -> float | None:
        """Of one call; None if the model is not loaded any more, or the agent has no answer."""
        if self._lost or job.key not in self._loaded:
            return None
        request = {"op": "energy", "model": job.key, "seconds": ENERGY_S}
        slow_s = 20 * (job.warm.call_ms if job.warm else 0.0) / 100  # ten calls at least
        try:
            found = self._agent.ask(request, timeout_s=ANSWER_TIMEOUT_S + slow_s)["energy_mj"]
        except (AgentDiedError, AgentRefusedError, AgentTimeoutError):
            self._restart()
            return None
        return None if found is None else float(found)

    def _path(self, job: _Job) -> str:
        """Where the agent finds the model."""
        if not self._start.sends_files:
            return str(job.item.path)
        data = base64.b64encode(job.item.path.read_bytes()).decode()
        request = {"op": "put", "name": f"{job.key}{job.item.path.suffix}", "data": data}
        return str(self._agent.ask(request, timeout_s=LOAD_TIMEOUT_S)["path"])

    def _restart(self) -> None:
        """Start the agent again; on a board, for as long as a lost connection or a reboot may take."""
        end_s, pause_s = time.monotonic() + self._start.patience_s, 1.0
        while True:
            self._agent.close()
            self._loaded.clear()
            self._agent = AgentProcess(self._start, threads=self._threads)
            if not self._start.patience_s:
                return
            try:
                self._agent.ask({"op": "info", "runtime": self._runtime}, timeout_s=LOAD_TIMEOUT_S)
                return
            except (AgentDiedError, AgentTimeoutError) as error:
                if time.monotonic() + pause_s > end_s:
                    self._lost = f"the board does not come back: {error}"
                    raise _LostError(self._lost) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 15.0)


def measure_files(
    items: Sequence[MeasureItem],
    *,
    device: str,
    runtime: str,
    threads: int,
    seconds_per_model: float,
    on_progress: Progress | None = None,
    seed: int = 0,
    start: AgentStart | None = None,
) -> list[Measurement | MeasurementFailure]:
    """Measure latency at batch 1 in at least four fresh processes; models are interleaved over at least 12 rounds each.

    A model that cannot be loaded, crashes (twice) or hangs becomes a failure, and the others go on. Models whose
    10th percentile is not supported are timed again, as far as half of the planned time allows; what is then still
    unstable is marked so, with all its samples.

    Args:
        device: name that the measurements carry.
        runtime: one of `RUNTIMES`.
        threads: of each model.
        seconds_per_model: about what one model costs, warm-up included; 1 or more gives good numbers.
        on_progress: called with (models done, all models); models of a group advance together.
        seed: of the order of rounds.
        start: what starts the agent; by default agent.py on this machine, with this Python.
    Returns:
        One result an item, in the order of `items`.
    Raises:
        ConfigError: an argument is out of range.
        MeasurementError: the agent cannot be started.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"runtime {runtime!r} cannot be timed here; allowed: {', '.join(RUNTIMES)}")
    if threads < 1 or not seconds_per_model > 0:
        raise ConfigError(
            f"threads must be >= 1 and seconds_per_model > 0, got threads={threads}, "
            f"seconds_per_model={seconds_per_model}"
        )
    rng = np.random.default_rng(seed)
    # Random groups: models that are neighbours in `items` are often alike.
    order = [int(index) for index in rng.permutation(len(items))]
    jobs = {index: _Job(items[index], str(index)) for index in order}
    groups = [[jobs[index] for index in order[at : at + GROUP]] for at in range(0, len(order), GROUP)]

    def report(share: float) -> None:
        if on_progress is not None:
            on_progress(int(share * len(items)), len(items))

    with _Session(start or local_start(), runtime, threads) as session:
        _measure(session, groups, Budget(seconds_per_model), rng, report)
    return [_result(jobs[index], device, runtime, threads) for index in range(len(items))]


def _measure(
    session: _Session, groups: list[list[_Job]], budget: Budget, rng: np.random.Generator, report: Progressed
) -> None:
    """Warm up, time and, where needed, repeat; fills the jobs.

    Each turn, a part of the rounds, runs in a process of its own: where memory lies makes a process a few percent
    faster or slower for as long as it lives, and of several the 10th percentile finds the fast ones. Groups take turns
    as models do, so that all models see the machine at the same times of day.
    """
    steps = [(turn, group) for turn in range(PROCESSES) for group in groups]
    for number, (turn, group) in enumerate(steps):
        step = _part(report, number / len(steps), (number + 1) / len(steps))
        if number:
            session.renew()
        if turn == 0:
            _warm_up_all(session, group, budget, _part(step, 0.0, 0.5))
        _time_rounds(session, group, _parts(group, turn), rng, _part(step, 0.5, 1.0) if turn == 0 else step)
    for group in groups:
        _repeat(session, group, rng)
        for job in group:
            if job.failure is None and job.conditions.get("energy_sensor") is not None:
                _attempt(job, partial(_weigh, session, job))
    report(1.0)


def _part(report: Progressed, start: float, end: float) -> Progressed:
    """Reports the progress of a part as that of the whole."""
    return lambda share: report(start + (end - start) * share)


def _warm_up_all(session: _Session, group: list[_Job], budget: Budget, report: Progressed) -> None:
    """Warm every model up, and note the conditions of the machine when they are."""
    for number, job in enumerate(group, start=1):
        _attempt(job, partial(_warm_up, session, job, budget))
        report(number / len(group))
    conditions = session.info()
    for job in group:
        job.conditions = conditions


def _repeat(session: _Session, group: list[_Job], rng: np.random.Generator) -> None:
    """Time models again whose rounds do not agree, as far as half of the planned time allows."""
    passes_left = max(MAX_REPEATS, math.ceil(len(group) / 2))
    for _ in range(MAX_REPEATS):
        unstable = [job for job in group if job.failure is None and not judge(job.rounds).stable][:passes_left]
        if not unstable:
            break
        passes_left -= len(unstable)
        _time_rounds(session, unstable, [job.plan.rounds if job.plan else 0 for job in unstable], rng)


def _parts(group: list[_Job], turn: int) -> list[int]:
    """How many rounds of each model belong to a turn."""
    return [len(range(turn, job.plan.rounds, PROCESSES)) if job.plan else 0 for job in group]


def _weigh(session: _Session, job: _Job) -> None:
    job.energy_mj = session.energy_mj(job)


def _attempt(job: _Job, work: Callable[[], None]) -> None:
    try:
        work()
    except _LostError as error:  # what was measured before stays
        job.cut = str(error)
    except (AgentDiedError, AgentRefusedError, AgentTimeoutError) as error:
        job.failure = str(error)


def _warm_up(session: _Session, job: _Job, budget: Budget) -> None:
    job.warm = warm_up(lambda calls: session.run(job, calls), budget)
    job.plan = plan_rounds(job.warm.call_ms, budget)


def _time_rounds(
    session: _Session,
    jobs: Sequence[_Job],
    rounds: Sequence[int],
    rng: np.random.Generator,
    report: Progressed = lambda share: None,
) -> None:
    """Add rounds to every job that has not failed, interleaved."""

    def one_round(job: _Job) -> None:
        if job.plan is not None:
            job.rounds.append(tuple(session.run(job, job.plan.calls, job.plan.discard)))

    order = schedule(rounds, rng)
    for number, index in enumerate(order, start=1):
        if jobs[index].failure is None:
            _attempt(jobs[index], partial(one_round, jobs[index]))
        report(number / len(order))


def _result(job: _Job, device: str, runtime: str, threads: int) -> Measurement | MeasurementFailure:
    if job.cut is not None and len(job.rounds) < MIN_ROUNDS:
        job.failure = job.cut
    if job.failure is not None or job.warm is None:
        return MeasurementFailure(job.item.candidate, job.failure or "not measured")
    try:
        return Measurement(
            candidate=job.item.candidate,
            device=device,
            runtime=runtime,
            runtime_version=job.conditions.get("runtime_version"),
            samples_ms=tuple(job.rounds),
            stable=judge(job.rounds).stable,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            precision=job.item.precision,
            threads=threads,
            warmup=job.warm.calls,
            clock_mhz=job.conditions.get("clock_mhz"),
            temperature_c=job.conditions.get("temperature_c"),
            power_mode=job.conditions.get("power_mode"),
            energy_mj=job.energy_mj,
            input_shape=tuple(job.item.input_shape),
        )
    except MeasurementError as error:
        return MeasurementFailure(job.item.candidate, str(error))
