"""What compressing a network gained: each model of a front beside the network that it was made of."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.core.front import Front, FrontModel

__all__ = ["Gain", "best_within", "gains"]


@dataclass(frozen=True, slots=True)
class Gain:
    """A model beside the original, on one device.

    Attributes:
        id: of the model.
        precision: that it runs at.
        faster_predicted: the original's predicted latency over the model's; above 1 is faster.
        faster_measured: the same of measured latencies; None if one of the two was not measured.
        points_lost: accuracy of the original minus that of the model, in percentage points; below 0 it is better.
        smaller: parameters of the original over those of the model.
    """

    id: str
    precision: str
    faster_predicted: float
    faster_measured: float | None
    points_lost: float
    smaller: float

    @property
    def faster(self) -> float:
        """The measured ratio if there is one, else the predicted one."""
        return self.faster_predicted if self.faster_measured is None else self.faster_measured


def gains(front: Front, original: FrontModel, device: str) -> list[Gain]:
    """Each model of the front beside the original, in the front's order; accuracies are of deployed files."""
    return [_gain(model, original, device) for model in front.models if model.id != original.id]


def _gain(model: FrontModel, original: FrontModel, device: str) -> Gain:
    before, after = original.latency[device], model.latency[device]
    measured = None
    if before.measured is not None and after.measured is not None:
        measured = before.measured.value / after.measured.value
    return Gain(
        id=model.id,
        precision=model.compression.precision,
        faster_predicted=before.predicted / after.predicted,
        faster_measured=measured,
        points_lost=100 * (original.accuracy - model.accuracy),
        smaller=original.params / model.params,
    )


def best_within(found: list[Gain], points: float) -> Gain | None:
    """The fastest of those that lose at most so many points; None if all lose more."""
    return max(
        (gain for gain in found if gain.points_lost <= points + 1e-9), key=lambda gain: gain.faster, default=None
    )
