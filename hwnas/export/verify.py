"""Is the file the one that was promised, and is it as fast as was promised?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwnas.core.measurement import Measurement
from hwnas.core.predictor import Prediction
from hwnas.errors import RunFolderError
from hwnas.store import sha256_of

__all__ = ["TIE", "Verification", "changed_conditions", "compare", "verify_file"]

# Field of a measurement -> what it is called.
_CONDITIONS = {"runtime": "runtime", "runtime_version": "version", "power_mode": "power mode", "threads": "threads"}
TIE = 0.05  # measurements of one model differ by as much on a quiet shared machine; smaller differences are ties


@dataclass(frozen=True, slots=True)
class Verification:
    """A prediction beside a measurement.

    Attributes:
        kept: the measured value lies in the promised interval, or misses it by less than 5 %.
        predicted_ms, low_ms, high_ms: the promise, a 90 % interval around the value.
        measured_ms: 10th percentile of the measured samples.
        relative_error: (predicted - measured) / measured; above 0 means that the model is faster than promised.
        stable: whether the measurement can be relied on; None is not known.
        reason: one sentence for people.
    """

    kept: bool
    predicted_ms: float
    low_ms: float
    high_ms: float
    measured_ms: float
    relative_error: float
    stable: bool | None
    reason: str


def verify_file(path: Path, sha256: str) -> None:
    """Check that a file has the promised content.

    Raises:
        RunFolderError: it is missing, cannot be read, or has another SHA-256.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise RunFolderError(f"cannot read {path}: {error.strerror}; export the model again") from error
    if found != sha256:
        raise RunFolderError(f"{path} was changed: its SHA-256 is {found[:16]}..., the manifest says {sha256[:16]}...")


def compare(predicted: Prediction, measurement: Measurement) -> Verification:
    """Hold a prediction (of the 10th percentile) against a measurement of the same model."""
    measured_ms = measurement.percentile_ms(10)
    error = (predicted.latency_ms - measured_ms) / measured_ms
    low_ms, high_ms = predicted.low_ms, predicted.high_ms
    kept = low_ms * (1 - TIE) <= measured_ms <= high_ms * (1 + TIE)
    where = "inside" if low_ms <= measured_ms <= high_ms else "outside"
    reason = f"measured {measured_ms:.4g} ms, {where} the promised {low_ms:.4g} to {high_ms:.4g} ms"
    if kept and where == "outside":
        reason += f", but by less than {TIE:.0%}"
    if measurement.stable is False:
        reason += "; the measurement was not stable"
    return Verification(kept, predicted.latency_ms, low_ms, high_ms, measured_ms, error, measurement.stable, reason)


def changed_conditions(before: Measurement, now: Measurement) -> str:
    """What is otherwise than when the promise was made, in words; empty if nothing is, as far as it is known."""
    found = []
    for name, word in _CONDITIONS.items():
        old, new = getattr(before, name), getattr(now, name)
        if old is not None and new is not None and old != new:
            found.append(f"{word} {old} -> {new}")
    return ", ".join(found)
