"""What a reader must know of a model's files: notes of what their runtimes make of them."""

from __future__ import annotations

from pathlib import Path

from hwnas.core.graph_record import records_in
from hwnas.errors import RunFolderError, SchemaError
from hwnas.export.bundle import MANIFEST, SCHEMA
from hwnas.store import inside, read_json

__all__ = ["graph_notes"]


def graph_notes(run_dir: Path, model_id: str) -> list[str]:
    """Notes of all files of a model, each with its runtime; none where the run kept no record, or it is damaged."""
    try:
        manifest = read_json(inside(run_dir, f"models/{model_id}/{MANIFEST}"), schema=SCHEMA)
    except (RunFolderError, SchemaError, OSError, ValueError):
        return []
    return [f"{runtime}: {note}" for runtime, record in records_in(manifest) for note in record.notes]
