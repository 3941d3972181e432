"""What a reader must know of a model's file: notes of what its runtime makes of it here."""

from __future__ import annotations

from pathlib import Path

from hwnas.core.graph_record import records_in
from hwnas.devices.resolve import runtime_here
from hwnas.errors import RunFolderError, SchemaError
from hwnas.export.bundle import MANIFEST, SCHEMA
from hwnas.store import inside, read_json

__all__ = ["graph_notes"]


def graph_notes(run_dir: Path, model_id: str, device: str) -> list[str]:
    """Notes of a model's file for a device, with its runtime; none where the run kept no record, or it is damaged.

    None either for a device that is another machine: what the runtime made of the file where it was exported tells
    nothing of it.
    """
    here = runtime_here(device)
    try:
        manifest = read_json(inside(run_dir, f"models/{model_id}/{MANIFEST}"), schema=SCHEMA)
    except (RunFolderError, SchemaError, OSError, ValueError):
        return []
    found = [record for runtime, record in records_in(manifest) if runtime == here]
    return [f"{here}: {note}" for record in found for note in record.notes]
