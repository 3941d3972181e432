"""What a reader must know of a model's file: notes of what its runtime makes of it here."""

from __future__ import annotations

from pathlib import Path

from hwnas.core.graph_record import GraphRecord, records_in
from hwnas.devices.resolve import runtime_here
from hwnas.errors import RunFolderError, SchemaError
from hwnas.export.bundle import MANIFEST, SCHEMA
from hwnas.store import inside, read_json

__all__ = ["fp32_remark", "graph_notes"]


def graph_notes(run_dir: Path, model_id: str, device: str) -> list[str]:
    """Notes of a model's file for a device, each with its runtime; none where the run kept no record.

    None either for a device that is another machine: what the runtime made of the file where it was exported tells
    nothing of it.
    """
    return [f"{runtime}: {note}" for runtime, record in _records(run_dir, model_id, device) for note in record.notes]


def fp32_remark(run_dir: Path, model_id: str, device: str, precision: str) -> str | None:
    """In a word or two, that layers of a model's smaller file run in fp32 here; None: none do, or it is not known."""
    for _, record in _records(run_dir, model_id, device):
        if in_fp32 := record.ignored(precision):
            return "runs in fp32" if in_fp32 == sum((record.precisions or {}).values()) else "partly in fp32"
    return None


def _records(run_dir: Path, model_id: str, device: str) -> list[tuple[str, GraphRecord]]:
    """Of the device's runtime, if it is this machine; a damaged manifest has none."""
    here = runtime_here(device)
    try:
        manifest = read_json(inside(run_dir, f"models/{model_id}/{MANIFEST}"), schema=SCHEMA)
    except (RunFolderError, SchemaError, OSError, ValueError):
        return []
    return [(runtime, record) for runtime, record in records_in(manifest) if runtime == here]
