"""How much accuracy each stage of a network costs when it loses channels: read once, it narrows what a search tries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.core.json_block import Block
from hwnas.store import read_json, write_json

__all__ = ["SENSITIVITY", "Sensitivity", "measure_sensitivity"]

SENSITIVITY = "sensitivity.json"
SCHEMA = 1
KEYS = ("schema", "accuracy", "guessing", "n", "split", "precision", "stages")
# Before fine-tuning, a stage may lose this much of what the network knows beyond guessing; what is lost beyond does not
# come back in the few epochs that finishing has.
MOST_LOST = 0.6


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Accuracy against ratio, stage by stage, the other stages whole.

    Attributes:
        accuracy: of the whole network, fraction 0-1 on the validation split.
        guessing: accuracy of guessing.
        n: validation samples that were read.
        precision: that it was read at.
        stages: stage, or choice of how many blocks or heads stay -> (ratio, accuracy) pairs, by ratio; before
            fine-tuning, after batch-norm recalibration.
    """

    accuracy: float
    guessing: float
    n: int
    precision: str
    stages: Mapping[str, tuple[tuple[float, float], ...]]

    def ratios(self, stage: str) -> tuple[float, ...]:
        """Ratios worth searching, ascending from 0: up to the first that costs too much, but always one above 0."""
        least = self.guessing + (1 - MOST_LOST) * (self.accuracy - self.guessing)
        kept = [0.0]
        for ratio, accuracy in self.stages[stage]:
            if len(kept) > 1 and accuracy < least:
                break
            kept.append(ratio)
        return tuple(kept)

    def to_json(self) -> dict[str, Any]:
        """The content of `sensitivity.json`."""
        return {
            "schema": SCHEMA,
            "accuracy": self.accuracy,
            "guessing": self.guessing,
            "n": self.n,
            "split": "validation",
            "precision": self.precision,
            "stages": [
                {
                    "stage": stage,
                    "accuracy": [{"ratio": ratio, "value": value} for ratio, value in found],
                    "searched": list(self.ratios(stage)),
                }
                for stage, found in self.stages.items()
            ],
        }

    def write(self, folder: Path) -> None:
        """Write `sensitivity.json` into a run folder."""
        write_json(folder / SENSITIVITY, self.to_json())

    @classmethod
    def read(cls, folder: Path) -> Sensitivity:
        """Read what `write` wrote.

        Raises:
            RunFolderError: the file is missing or damaged.
            SchemaError: another version wrote it.
        """
        raw = read_json(folder / SENSITIVITY, schema=SCHEMA)
        block = Block(raw, "", KEYS)
        stages: dict[str, tuple[tuple[float, float], ...]] = {}
        for at, item in enumerate(block.items("stages")):
            one = Block(item, f"stages[{at}]", ("stage", "accuracy", "searched"))
            pairs = [Block(pair, f"{one.where}.accuracy", ("ratio", "value")) for pair in one.items("accuracy")]
            stages[one.text("stage")] = tuple((pair.number("ratio"), pair.number("value")) for pair in pairs)
        return cls(
            block.number("accuracy"), block.number("guessing"), block.count("n"), block.text("precision"), stages
        )


def measure_sensitivity(
    ratios: Mapping[str, Sequence[float]],
    accuracy_of: Callable[[Mapping[str, float]], float],
    *,
    guessing: float,
    n: int,
    precision: str = "fp32",
    on_step: Callable[[float], None] | None = None,
) -> Sensitivity:
    """Read the accuracy of the whole network, and of the network with one stage pruned, for each stage and ratio.

    Args:
        ratios: stage, or choice of blocks or heads -> ratios above 0, ascending.
        accuracy_of: of the network pruned by these ratios.
        guessing, n, precision: of these accuracies.
        on_step: called with each accuracy.
    """
    say = on_step or (lambda accuracy: None)
    say(whole := accuracy_of({}))
    stages: dict[str, tuple[tuple[float, float], ...]] = {}
    for stage, of_stage in ratios.items():
        found = []
        for ratio in of_stage:
            found.append((ratio, accuracy := accuracy_of({stage: ratio})))
            say(accuracy)
        stages[stage] = tuple(found)
    return Sensitivity(whole, guessing, n, precision, stages)
