"""Measurements made ready for fitting: one latency a candidate, all taken under the same conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.core.candidate import Candidate
from hwnas.core.measurement import Measurement
from hwnas.core.ops import OpList
from hwnas.errors import MeasurementError
from hwnas.latency.features import matrix
from hwnas.latency.generic import generic_ms

__all__ = ["Samples", "prepare"]

# One condition of all measurements that a predictor is fitted on.
_CONDITIONS = ("device", "runtime", "runtime_version", "precision", "batch", "threads", "power_mode")
_DISAGREEMENT = 1.25  # between repeated measurements of one candidate
_UNITS = 300.0  # more spread around a generic device than any device has: seconds beside milliseconds
PERCENTILE = 10.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Candidates with one latency each.

    Attributes:
        first: any one of the measurements, for their common conditions.
        candidates: `n` different ones.
        shapes: input shape of each, None where the record does not say.
        latency_ms: `n`.
        energy_mj: `n`, of an inference; NaN where it was not read.
        statistic: what one latency is.
    """

    first: Measurement
    candidates: tuple[Candidate, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    latency_ms: NDArray[np.float64]
    energy_mj: NDArray[np.float64]
    statistic: str

    @property
    def spaces(self) -> tuple[str, ...]:
        """Names of the spaces, sorted."""
        return tuple(sorted({candidate.architecture.space for candidate in self.candidates}))

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Different input shapes, sorted."""
        return tuple(sorted({shape for shape in self.shapes if shape}))

    def check_against(self, networks: Sequence[OpList]) -> None:
        """Compare latencies with the networks' work.

        Raises:
            MeasurementError: networks of different size all take equally long, or latencies mix units.
        """
        latency, features = self.latency_ms, matrix(networks, flow=False)
        if len(latency) >= 3 and np.ptp(latency) == 0 and np.ptp(features, axis=0).any():
            raise MeasurementError(
                f"all {len(latency)} latencies are {latency[0]:g} ms, whatever the network; latencies must differ. "
                "Check the clock, and measure again"
            )
        ratio = latency / generic_ms(features)
        if ratio.max() / ratio.min() > _UNITS:
            slow, fast = (self.candidates[int(at)].id for at in (ratio.argmax(), ratio.argmin()))
            raise MeasurementError(
                f"latencies mix units: beside its work, candidate {slow} ({latency[ratio.argmax()]:g} ms) is "
                f"{ratio.max() / ratio.min():.0f} times slower than {fast} ({latency[ratio.argmin()]:g} ms); "
                "samples_ms must be milliseconds. Correct or remove them"
            )


def prepare(measurements: Iterable[Measurement], *, device: str, precision: str | None) -> Samples:
    """Leave out what is unstable, check that conditions are equal, and average repeated measurements.

    Args:
        measurements: any number.
        device: name that all must have.
        precision: which to take; None: there must be only one.
    Raises:
        MeasurementError: nothing is left, conditions are mixed, or repeated measurements disagree by 25 %.
    """
    given = [m for m in measurements if precision is None or m.precision == precision]
    kept = [m for m in given if m.stable is not False]
    if not kept:
        what = (
            f"{len(given)} measurements, none of them stable" if given else f"no {precision or 'stable'} measurements"
        )
        raise MeasurementError(f"nothing to calibrate {device!r} with: {what}; measure more with `hwnas measure`")
    if other := sorted({m.device for m in kept} - {device}):
        raise MeasurementError(f"measurements are of {other}, not of {device!r}; pass --device {other[0]}")
    for condition in _CONDITIONS:
        found = sorted({str(getattr(m, condition)) for m in kept})
        if len(found) > 1:
            raise MeasurementError(
                f"measurements mix {condition}: {', '.join(found)}; a predictor has one. Calibrate with one at a time"
            )
    return _merge(kept)


def _merge(kept: Sequence[Measurement]) -> Samples:
    groups: dict[tuple[Candidate, tuple[int, ...] | None], list[float]] = {}
    energies: dict[tuple[Candidate, tuple[int, ...] | None], list[float]] = {}
    for m in kept:
        key = m.candidate, m.input_shape
        groups.setdefault(key, []).append(m.percentile_ms(PERCENTILE))
        energies.setdefault(key, []).extend([] if m.energy_mj is None else [m.energy_mj])
    for (candidate, _), values in groups.items():
        if max(values) > _DISAGREEMENT * min(values):
            raise MeasurementError(
                f"candidate {candidate.id} was measured {len(values)} times, {min(values):g} to {max(values):g} ms; "
                f"repeated measurements must agree within {_DISAGREEMENT - 1:.0%}. Remove the wrong ones"
            )
    single = all(len(m.pooled_ms) == 1 for m in kept)
    return Samples(
        first=kept[0],
        candidates=tuple(candidate for candidate, _ in groups),
        shapes=tuple(shape for _, shape in groups),
        latency_ms=np.array([_geometric_mean(values) for values in groups.values()]),
        energy_mj=np.array([_geometric_mean(values) if values else np.nan for values in energies.values()]),
        statistic="as recorded, one value a network" if single else "p10",
    )


def _geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))
