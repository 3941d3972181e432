"""Milliseconds of each operation, as a runtime's own profiler reads them: the port, and the arithmetic of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from hwnas.core.runtime import InputArray

__all__ = ["FAST_SHARE", "Profiler", "TimedOperation", "fast_calls"]

FAST_SHARE = 0.25  # of the calls; a shared machine makes the others slower, in bursts


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOperation:
    """One operation that a runtime ran.

    Attributes:
        kind: one of `hwnas.core.ops.KINDS`; what only moves, converts or relabels data is "layout".
        operator: the runtime's name of what it is, fused operations and precision included where it says so.
        name: the runtime's name of this one; may be empty.
        output: shape of its result as the runtime lays it out, without the batch; None is not known.
        samples_ms: its duration in each call, in the order of the calls.
    """

    kind: str
    operator: str
    name: str
    output: tuple[int, ...] | None
    samples_ms: tuple[float, ...]


@runtime_checkable
class Profiler(Protocol):
    """Optional part of a runtime: it can say how long each operation of a file takes."""

    def profile(
        self, path: Path, inputs: InputArray, *, threads: int = 1, calls: int = 50, warmup: int = 10
    ) -> list[TimedOperation]:
        """Run a file on one input, with the runtime's profiler at work.

        Args:
            path: a file that this runtime's `export` wrote.
            inputs: `1 x input_shape`, as `Session.run` takes it.
            threads: as for `load`.
            calls: how many calls are kept; `warmup` more come before them and are thrown away.
        Returns:
            The operations in the order in which they ran, each with `calls` durations.
        Raises:
            RuntimeExportError: the file cannot be loaded or run.
            MeasurementError: this build of the runtime has no profiler.
        """


def fast_calls(totals_ms: Sequence[float]) -> list[int]:
    """Places of the fastest quarter of some calls, one at least: those that nothing else on the machine slowed down.

    A profiler counts whole microseconds; a mean over many calls sees parts of one, a percentile does not.
    """
    order = np.argsort(np.asarray(totals_ms), kind="stable")
    return [int(place) for place in order[: max(1, round(FAST_SHARE * len(order)))]]
