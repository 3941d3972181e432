"""Where the time of a model goes on this machine: each operation by the runtime's profiler, beside the plain time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwnas.core.profile import Profiler, TimedOperation, fast_calls
from hwnas.core.runtime import InputArray, Runtime, Session
from hwnas.errors import MeasurementError

__all__ = ["OperationTime", "Profile", "profile_file"]

WARMUP = 20
MIN_CALLS, MAX_CALLS = 20, 1000
PROBE_CALLS = 10


@dataclass(frozen=True, slots=True)
class OperationTime:
    """One operation of a file and the mean of its time over the fastest quarter of the calls.

    Attributes:
        kind, operator, name, output: as in `TimedOperation`.
        ms: measured.
    """

    kind: str
    operator: str
    name: str
    output: tuple[int, ...] | None
    ms: float


@dataclass(frozen=True, slots=True)
class Profile:
    """One file on this machine.

    Attributes:
        operations: in the order in which they ran.
        plain_ms: one call without the profiler, by the clock; mean of the fastest quarter, as everything here.
        calls: profiled calls, the thrown-away ones not among them.
    """

    operations: tuple[OperationTime, ...]
    plain_ms: float
    calls: int

    @property
    def sum_ms(self) -> float:
        """Of all operations, as the profiler reads them."""
        return sum(op.ms for op in self.operations)

    @property
    def profiler_ms(self) -> float:
        """What the profiler itself costs in each operation, at least: together they cannot take longer than the call.

        With it taken off, and none below 0, the operations add up to the plain call. 0 where nothing shows that it
        costs anything. In small networks it is most of what a profiler reads.
        """
        left = sorted((op.ms for op in self.operations), reverse=True)
        while left:
            cost_ms = (sum(left) - self.plain_ms) / len(left)
            if cost_ms <= left[-1]:
                return max(0.0, cost_ms)
            left.pop()  # it is all profiler
        return 0.0

    def net_ms(self, op: OperationTime) -> float:
        """Of one operation, less what the profiler costs."""
        return max(0.0, op.ms - self.profiler_ms)


def profile_file(
    runtime: Runtime,
    path: Path,
    inputs: InputArray,
    *,
    threads: int = 1,
    seconds: float = 2.0,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> Profile:
    """Time a file plainly, by its runtime's profiler, and plainly again, so that both see the machine at its best.

    The profiler works once: loaded anew, a runtime may give operations other names, and another order.

    Args:
        inputs: `1 x input_shape`.
        seconds: about what it may take.
    Raises:
        MeasurementError: the runtime has no profiler, or it names no operation.
        RuntimeExportError: the file cannot be loaded or run.
    """
    if not isinstance(runtime, Profiler):
        raise MeasurementError(
            f"runtime {runtime.name!r} has no profiler that Python reaches; export the model for one that has, such as "
            "onnxruntime, and explain that"
        )
    session = runtime.load(path, threads=threads)
    _plain(session, inputs, WARMUP, clock_ns)
    call_ms = float(np.median(_plain(session, inputs, PROBE_CALLS, clock_ns)))
    calls = int(np.clip(seconds * 1000 / (2 * max(call_ms, 1e-3)), MIN_CALLS, MAX_CALLS))
    plain = _plain(session, inputs, calls // 2, clock_ns)
    timed = runtime.profile(path, inputs, threads=threads, calls=calls, warmup=WARMUP)
    plain += _plain(session, inputs, calls // 2, clock_ns)
    if not timed:
        raise MeasurementError(f"the profiler of runtime {runtime.name!r} names no operation of {path}")
    return Profile(_averaged(timed), _fast_mean(plain), calls)


def _plain(session: Session, inputs: InputArray, calls: int, clock_ns: Callable[[], int]) -> list[float]:
    found = []
    for _ in range(calls):
        start = clock_ns()
        session.run(inputs)
        found.append((clock_ns() - start) / 1e6)
    return found


def _fast_mean(values: Sequence[float]) -> float:
    return float(np.mean([values[place] for place in fast_calls(values)]))


def _averaged(timed: Sequence[TimedOperation]) -> tuple[OperationTime, ...]:
    """Each operation over the calls that were fastest as a whole: its parts then add up to a call."""
    samples = np.array([op.samples_ms for op in timed])
    means = samples[:, fast_calls(samples.sum(axis=0).tolist())].mean(axis=1)
    return tuple(
        OperationTime(op.kind, op.operator, op.name, op.output, float(ms)) for op, ms in zip(timed, means, strict=True)
    )
