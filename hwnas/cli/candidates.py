"""Candidates that commands take from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.errors import ConfigError, InvalidArchitectureError

if TYPE_CHECKING:
    from hwnas.core.candidate import Candidate
    from hwnas.core.space import SearchSpace

__all__ = ["read_candidates"]


def read_candidates(path: Path, space: SearchSpace, *, precision: str) -> list[Candidate]:
    """Read JSON Lines: each line is {choice: value}, or {"architecture": {...}} with an optional "compression".

    Args:
        precision: of the lines that name no compression.
    Raises:
        ConfigError: the file is missing or empty, or a line is no such object (named by its number).
        InvalidArchitectureError: a line is not an architecture of the space.
    """
    from hwnas.core.candidate import Candidate
    from hwnas.core.compression import CompressionPlan

    if not path.is_file():
        raise ConfigError(f"no file {path}; give JSON Lines with an architecture of {space.name!r} a line")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
            values = raw.get("architecture", raw)
            plan = raw.get("compression") if values is not raw else None
            compression = CompressionPlan.of(precision) if plan is None else CompressionPlan.from_json(plan)
            found.append(Candidate(space.architecture(values), compression))
        except InvalidArchitectureError as error:
            raise InvalidArchitectureError(f"{path}, line {number}: {error}") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}, line {number}: not an architecture as a JSON object ({error})") from error
    if not found:
        raise ConfigError(f"{path} is empty; give JSON Lines with an architecture of {space.name!r} a line")
    return found
