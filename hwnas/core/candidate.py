"""A candidate: an architecture together with the way it is compressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hwnas.core.architecture import Architecture, short_hash
from hwnas.core.compression import CompressionPlan

__all__ = ["Candidate"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a search proposes.

    Attributes:
        architecture: which network of the space.
        compression: its precision, and what is cut of each stage; fp32 and nothing, if not given.
    """

    architecture: Architecture
    compression: CompressionPlan = field(default_factory=CompressionPlan)

    @property
    def id(self) -> str:
        """A short name that depends on the space, the values and the plan only."""
        return short_hash([self.architecture.space, self.architecture.choices, self.compression.to_json()])

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {
            "space": self.architecture.space,
            "architecture": dict(self.architecture),
            "compression": self.compression.to_json(),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Candidate:
        """Read what `to_json` wrote."""
        architecture = Architecture.of(str(raw["space"]), dict(raw["architecture"]))
        return cls(architecture, CompressionPlan.from_json(raw.get("compression") or {}))
