"""Accuracies of a run's models without their compression, read as the search read theirs: what the report compares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwnas.core.json_block import Block
from hwnas.errors import RunFolderError, SchemaError
from hwnas.store import read_json, write_json

__all__ = ["TWINS", "read_twins", "write_twins"]

TWINS = "uncompressed.json"
SCHEMA = 1


def write_twins(folder: Path, accuracy: Mapping[str, float]) -> None:
    """Write `uncompressed.json` into a run folder.

    Args:
        accuracy: id of a network at fp32 with all its channels -> accuracy on the validation split, fraction 0-1.
    """
    write_json(folder / TWINS, {"schema": SCHEMA, "split": "validation", "accuracy": dict(sorted(accuracy.items()))})


def read_twins(folder: Path) -> dict[str, float]:
    """Read what `write_twins` wrote; nothing, if it is not there or damaged: it can be read again."""
    try:
        block = Block(read_json(folder / TWINS, schema=SCHEMA), "", ("schema", "split", "accuracy"))
        found = block.block("accuracy")
        return {name: found.number(name) for name in found.raw}
    except (RunFolderError, SchemaError):
        return {}
