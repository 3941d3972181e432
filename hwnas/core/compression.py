"""A compression plan: at which precision a network runs and how much of each stage is cut away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from hwnas.errors import InvalidArchitectureError

__all__ = ["PRECISIONS", "SEARCHED", "CompressionPlan", "is_ratio", "kept_channels"]

# int8: weights and activations, on ranges set beforehand. int8-dynamic: activations on the range that each call has.
# int8-weights: weights are stored in 8 bits, and all is computed in float.
PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-dynamic", "int8-weights")
SEARCHED = PRECISIONS[:4]  # unless somebody asks for others: each costs a calibration of its own


@dataclass(frozen=True, slots=True)
class CompressionPlan:
    """Precision of the whole network and the share of channels that each stage loses.

    Attributes:
        precision: one of `PRECISIONS`.
        prune: (stage, ratio) pairs sorted by stage, 0 < ratio < 1; a stage that is not named keeps all channels.
    """

    precision: str = "fp32"
    prune: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InvalidArchitectureError(
                f"unknown precision {self.precision!r}; allowed: {', '.join(PRECISIONS)}. Run `hwnas devices`."
            )
        stages = [stage for stage, _ in self.prune]
        if stages != sorted(set(stages)):
            raise InvalidArchitectureError(f"pruned stages must be sorted and unique, got {stages}")
        for stage, ratio in self.prune:
            if not is_ratio(ratio) or ratio == 0:
                raise InvalidArchitectureError(
                    f"prune ratio of {stage!r} must be a number above 0 and below 1, got {ratio!r}; 1 would leave "
                    "nothing of it, and a stage that is not named stays whole"
                )

    @classmethod
    def of(cls, precision: str = "fp32", prune: Mapping[str, float] | None = None) -> CompressionPlan:
        """Build from a mapping of stage to ratio; ratios of 0 are left out."""
        return cls(precision, tuple(sorted((s, r) for s, r in (prune or {}).items() if r != 0)))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> CompressionPlan:
        """Read what `to_json` wrote; either key may be missing.

        Raises:
            InvalidArchitectureError: it is no such object, or a value is out of its range.
        """
        is_plan = isinstance(raw, Mapping) and not raw.keys() - {"precision", "prune"}
        if not is_plan or not isinstance(raw.get("prune", {}), Mapping):
            raise InvalidArchitectureError(
                f'a compression plan is {{"precision": P, "prune": {{STAGE: RATIO}}}}, got {str(raw)[:60]}'
            )
        return cls.of(raw.get("precision", "fp32"), raw.get("prune", {}))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"precision": self.precision, "prune": dict(self.prune)}


def is_ratio(value: object) -> bool:
    """Whether it is a number of which a layer can be cut: from 0 to below 1; NaN is none."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < 1


def kept_channels(channels: int, ratio: float, multiple: int) -> int:
    """How many of `channels` stay when `ratio` of them is cut, rounded to the device's friendly multiple.

    The nearest multiple, never 0 and never more than `channels`; a layer narrower than `multiple` stays whole.
    """
    if ratio == 0 or channels <= multiple:
        return channels
    kept = round(channels * (1 - ratio) / multiple) * multiple
    return min(max(kept, multiple), channels)
