"""How far a run is, from its folder alone: finished, running, or left half done."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hwnas.core.front import Front
from hwnas.errors import HwnasError, RunFolderError, SchemaError
from hwnas.search.evaluated import Evaluated, evaluated_of, failures_of, trial_rows
from hwnas.search.live import PROGRESS, SCHEMA
from hwnas.search.runfolder import CONFIG, JOURNAL, RunFolder
from hwnas.store import read_front, read_json
from hwnas.viz.report import read_trials

__all__ = ["RunReader", "RunState", "page_of"]

_SILENT = timedelta(minutes=10)  # after which a search on another machine is taken for ended


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run as it is just now.

    Attributes:
        run_dir: its folder.
        front: without models while there are none.
        trials: rows as in `trials.jsonl`.
        progress: what the page shows of a search that has not ended; None: it has.
        version: another one whenever front or trials are others.
    """

    run_dir: Path
    front: Front
    trials: Sequence[Mapping[str, Any]]
    progress: Mapping[str, Any] | None
    version: str


class RunReader:
    """Looks at a run again and again; what was read of its journal is not read twice.

    Args:
        run_dir: the run folder.
        records: finished trials, where they are known already; None: from the journal, or from `trials.jsonl`.
    """

    def __init__(self, run_dir: Path, records: Sequence[Evaluated] | None = None) -> None:
        self._run_dir, self._records = run_dir, records
        self._journal: Any = None

    def look(self) -> RunState:
        """Read what is there.

        Raises:
            RunFolderError: there is no run, or what there is of it is damaged.
            SchemaError: another version made it.
        """
        path = self._run_dir
        if not (path / CONFIG).exists():  # only a front, as it was copied from somewhere
            front = read_front(path)
            return self._state(front, read_trials(path), None)
        folder = RunFolder.at(path)
        told = _told(path)
        records = None if folder.is_finished else self._finished_trials(folder, told)
        rows = read_trials(path) if records is None else trial_rows(records)
        front = read_front(path) if (path / "front.json").exists() else _empty_front(folder, told, rows)
        progress = None if folder.is_finished else _progress(told, records, len(rows))
        return self._state(front, rows, progress)

    def _state(self, front: Front, trials: Sequence[Mapping[str, Any]], progress: Mapping[str, Any] | None) -> RunState:
        front_file = self._run_dir / "front.json"
        made = front_file.stat().st_mtime_ns if front_file.exists() else 0
        version = hashlib.sha256(repr((made, len(trials), progress is None)).encode()).hexdigest()[:16]
        return RunState(run_dir=self._run_dir, front=front, trials=trials, progress=progress, version=version)

    def _finished_trials(self, folder: RunFolder, told: Mapping[str, Any]) -> list[Evaluated] | None:
        """From the journal, which is complete; None: the study is elsewhere, or cannot be read."""
        if self._records is not None:
            return list(self._records)
        devices = _devices(folder, told)
        if folder.config.storage is not None or not (folder.path / JOURNAL).exists():
            return None
        from hwnas.search.journal import JournalReader

        try:
            self._journal = self._journal or JournalReader(folder.path / JOURNAL)
            found = (evaluated_of(trial, devices) for trial in self._journal.trials())
            return [record for record in found if record is not None]
        except (ValueError, KeyError, TypeError, HwnasError):
            self._journal = None  # it may be whole the next time
            return None


def page_of(state: RunState, *, live: bool = False) -> dict[str, Any]:
    """What the page of a run shows."""
    from hwnas.viz.data import page_data

    data = page_data(state.front, state.run_dir, state.trials, progress=state.progress, live=live)
    return {**data, "version": state.version}


def _told(path: Path) -> dict[str, Any]:
    """What the search wrote about itself; nothing, if it did not or not wholly."""
    try:
        return read_json(path / PROGRESS, schema=SCHEMA)
    except (RunFolderError, SchemaError):
        return {}


def _devices(folder: RunFolder, told: Mapping[str, Any]) -> tuple[str, ...]:
    found = told.get("devices") or folder.found.get("device") or folder.config.devices
    return (found,) if isinstance(found, str) else tuple(map(str, found))


def _empty_front(folder: RunFolder, told: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Front:
    """A front without models, which says what is searched for."""
    devices = _devices(folder, told)
    corner = told.get("reference_point") or {}
    reference = {device: tuple(corner.get(device) or _corner(rows, device)) for device in devices}
    return Front(
        task=str(told.get("task") or folder.config.task),
        space=str(told.get("space") or folder.found.get("space") or folder.config.space or "not known yet"),
        seed=folder.config.seed,
        devices=devices,
        reference_point=reference,
        hypervolume=dict.fromkeys(devices, 0.0),
        models=(),
    )


def _corner(rows: Sequence[Mapping[str, Any]], device: str) -> tuple[float, float]:
    """A corner behind all that was found, where the search has not said its own."""
    values = [row["latency_ms"] for row in rows]
    latency_ms = [value.get(device) if isinstance(value, Mapping) else value for value in values]
    return 1.2 * max((float(value) for value in latency_ms if value), default=1.0), 1.0


def _progress(told: Mapping[str, Any], records: Sequence[Evaluated] | None, n_rows: int) -> dict[str, Any]:
    figures = told.get("figures") or {}
    elsewhere = told.get("running_elsewhere")
    return {
        "phase": told.get("phase"),
        "done": told.get("done") or 0,
        "total": told.get("total"),
        "figures": ", ".join(f"{key} {_figure(value)}" for key, value in figures.items()),
        "notes": list(told.get("notes") or ()),
        "errors": list(told.get("errors") or ()) if records is None else failures_of(records),
        "evaluated": n_rows if records is None else len(records),
        "workers": elsewhere or None,
        "running": _is_running(told),
        "updated": str(told["updated"]).replace("T", " ").replace("+00:00", " UTC") if "updated" in told else None,
    }


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_running(told: Mapping[str, Any]) -> bool:
    """Whether the process that wrote the progress lives; on another machine, whether it wrote lately."""
    try:
        if told["host"] != socket.gethostname():
            return datetime.now(UTC) - datetime.fromisoformat(told["updated"]) < _SILENT
        os.kill(int(told["pid"]), 0)
    except PermissionError:
        return True  # it is somebody else's
    except (KeyError, TypeError, ValueError, OSError, OverflowError):
        return False
    return True
