"""Candidates that commands take from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import ConfigError, InvalidArchitectureError

if TYPE_CHECKING:
    from hwnas.core.candidate import Candidate
    from hwnas.core.space import SearchSpace

__all__ = ["read_candidates"]


def read_candidates(path: Path, space: SearchSpace, *, precision: str) -> list[Candidate]:
    """Read a table (`.csv`, `.parquet`) or JSON Lines.

    A table has one column a choice, and may have one named "precision"; other columns are not read. A line of JSON is
    {choice: value}, or {"architecture": {...}} with an optional "compression".

    Args:
        precision: of the rows that name none.
    Raises:
        ConfigError: the file is missing or empty, or a line is no such object (named by its number).
        DataError: a table lacks a column, or a row a value.
        InvalidArchitectureError: a row is not an architecture of the space.
    """
    from hwnas.latency.tables import TABLES

    if not path.is_file():
        raise ConfigError(
            f"no file {path}; give JSON Lines with an architecture of {space.name!r} a line, or a table "
            f"({', '.join(TABLES)}) with one column a choice"
        )
    is_table = path.suffix.lower() in TABLES
    found = list(_from_table(path, space, precision) if is_table else _from_lines(path, space, precision))
    if not found:
        raise ConfigError(f"{path} is empty; give JSON Lines with an architecture of {space.name!r} a line")
    return found


def _from_table(path: Path, space: SearchSpace, precision: str) -> Iterator[Candidate]:
    from hwnas.core.candidate import Candidate
    from hwnas.core.compression import CompressionPlan
    from hwnas.latency.recorded import architecture_of
    from hwnas.latency.tables import read_table

    labels = [choice.label for choice in space.choices]
    optional = [] if "precision" in labels else ["precision"]
    for number, row in enumerate(read_table(path, labels, optional=optional), start=1):
        wanted = precision if "precision" in labels else str(row.get("precision", precision))
        try:
            yield Candidate(architecture_of(space, row), CompressionPlan.of(wanted))
        except InvalidArchitectureError as error:
            raise InvalidArchitectureError(f"{path}, row {number}: {error}") from error


def _from_lines(path: Path, space: SearchSpace, precision: str) -> Iterator[Candidate]:
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield _candidate(json.loads(line), space, precision)
        except InvalidArchitectureError as error:
            raise InvalidArchitectureError(f"{path}, line {number}: {error}") from error
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}, line {number}: not an architecture as a JSON object ({error})") from error


def _candidate(raw: Mapping[str, Any], space: SearchSpace, precision: str) -> Candidate:
    from hwnas.core.candidate import Candidate
    from hwnas.core.compression import CompressionPlan

    values = raw.get("architecture", raw)
    plan = raw.get("compression") if values is not raw else None
    compression = CompressionPlan.of(precision) if plan is None else CompressionPlan.from_json(plan)
    return Candidate(space.architecture(values), compression)
