"""An architecture: one value for each choice of a search space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hwnas.errors import InvalidArchitectureError

__all__ = ["Architecture", "Value", "short_hash"]

Value = int | float | str


def short_hash(payload: object) -> str:
    """Ten hexadecimal digits that name `payload` (anything JSON can write), the same on every machine."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Architecture(Mapping[str, Value]):
    """Label -> value, in the order of the labels; equal architectures compare and hash equal.

    Attributes:
        space: name of the search space.
        choices: (label, value) pairs, sorted by label, each label once.
    Raises:
        InvalidArchitectureError: labels are not sorted or not unique.
    """

    space: str
    choices: tuple[tuple[str, Value], ...]

    def __post_init__(self) -> None:
        labels = [label for label, _ in self.choices]
        if labels != sorted(set(labels)):
            raise InvalidArchitectureError(f"labels must be sorted and unique, got {labels}")

    @classmethod
    def of(cls, space: str, values: Mapping[str, Value]) -> Architecture:
        """Build from any mapping, whatever its order."""
        return cls(space, tuple(sorted(values.items())))

    @property
    def id(self) -> str:
        """A short name that depends on the space and the values only."""
        return short_hash([self.space, self.choices])

    def __getitem__(self, label: str) -> Value:
        for known, value in self.choices:
            if known == label:
                return value
        raise KeyError(label)

    def __iter__(self) -> Iterator[str]:
        return (label for label, _ in self.choices)

    def __len__(self) -> int:
        return len(self.choices)
