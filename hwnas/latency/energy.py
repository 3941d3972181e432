"""Energy of an inference: the regression of latency, fitted to the millijoules that a device's sensor read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.core.ops import OpList
from hwnas.core.predictor import Card, EnergyPrediction

if TYPE_CHECKING:
    from hwnas.latency.predictor import LinearGpPredictor

__all__ = ["FittedEnergy"]


@dataclass(frozen=True, slots=True)
class FittedEnergy:
    """Operations -> mJ on one device, runtime and precision.

    Energy is, as latency is, a sum over operations of what computing and moving data cost, so that one regression
    does for both.

    Attributes:
        fitted: the regression; its card's quantity is "energy", and what it calls ms are mJ.
    """

    fitted: LinearGpPredictor

    @property
    def card(self) -> Card:
        """How it was made and what it is worth."""
        return self.fitted.card

    def predict(self, networks: Sequence[OpList]) -> list[EnergyPrediction]:
        """One prediction a network, in their order; an empty sequence gives an empty list."""
        return [
            EnergyPrediction(p.latency_ms, p.low_ms, p.high_ms, p.in_domain, p.reason, p.predictor)
            for p in self.fitted.predict(networks)
        ]
