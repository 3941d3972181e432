"""What an evaluator found out about a candidate, and the port of evaluators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hwnas.core.candidate import Candidate

__all__ = ["Evaluation", "Evaluator"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracy of a candidate.

    Attributes:
        accuracy: fraction 0-1, higher is better.
        n: number of samples it was read on.
        split: "validation" or "test".
        precision: what was computed in (int8 may be simulated; `source` says so).
        source: "supernet", "trained", "pruned" (weights of a trained network, pruned) or "deployed-file".
        seconds: wall time it took.
    """

    accuracy: float
    n: int
    split: str
    precision: str
    source: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The accuracy block of `front.json`."""
        return {
            "value": self.accuracy,
            "split": self.split,
            "n": self.n,
            "precision": self.precision,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], seconds: float = 0.0) -> Evaluation:
        """Read what `to_json` wrote."""
        return cls(raw["value"], raw["n"], raw["split"], raw["precision"], raw["source"], seconds)


class Evaluator(Protocol):
    """Port: how accurate is this candidate?"""

    def evaluate(self, candidate: Candidate) -> Evaluation:
        """Accuracy on the validation split.

        Raises:
            TrainingError: the loss is not finite.
            BuildError: the space could not build the network.
        """

    def closer(self) -> Evaluator | None:
        """One that costs more and knows better, for the few best candidates; None: there is none."""
