"""Files that survive a crash: atomic writes, hashes, versioned JSON, and the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.core.front import Front, FrontModel
from hwnas.errors import RunFolderError, SchemaError

__all__ = [
    "PART",
    "cache_dir",
    "inside",
    "read_front",
    "read_json",
    "read_original",
    "remove_parts",
    "sha256_of",
    "write_atomic",
    "write_json",
    "write_original",
]


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
ORIGINAL, ORIGINAL_SCHEMA = "original.json", 1
PART = ".part"  # ends the names of files that are not whole yet


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that a reader sees the old file or the new one, never half of it.

    Raises:
        RunFolderError: the folder is not writable or the disk is full; the old file is left as it was.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        try:
            os.fchmod(handle, 0o666 & ~_UMASK)  # mkstemp's 0600 would keep a run from the user's colleagues
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise RunFolderError(
            f"cannot write {path}: {error.strerror}; free some space or choose another --out"
        ) from error


def remove_parts(folder: Path) -> None:
    """Remove the half-written files that killed processes left in a folder that nobody else writes to."""
    for path in folder.rglob(f".*{PART}"):
        path.unlink(missing_ok=True)


def write_json(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with two-space indentation; NaN and infinity are refused."""
    write_atomic(path, (json.dumps(payload, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path, *, schema: int | None = None) -> dict[str, Any]:
    """Read a JSON object and check its schema number.

    Raises:
        RunFolderError: the file is missing or damaged.
        SchemaError: it has another schema number than `schema` (not checked if None).
    """
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} does not exist; is {path.parent} a run folder?") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); restore it, or search again into a new --out") from error
    if not isinstance(raw, dict):
        raise RunFolderError(f"{path} is damaged: expected an object, got {type(raw).__name__}")
    if schema is not None and raw.get("schema") != schema:
        raise SchemaError(f"{path} has schema {raw.get('schema')!r}, this version reads {schema}; update hwnas")
    return raw


def read_front(run_dir: str | Path) -> Front:
    """Read `front.json` of a run folder.

    Args:
        run_dir: as `hwnas search` named it.
    Raises:
        RunFolderError: there is no such run, it has no front yet, or the file is damaged (the message names the key).
        SchemaError: another version wrote it.
    """
    run_dir = Path(run_dir)
    path = run_dir / "front.json"
    if not run_dir.is_dir():
        raise RunFolderError(f"no run folder {run_dir}; give the folder that `hwnas search` named, such as runs/NAME")
    if not path.exists():
        raise RunFolderError(f"{run_dir} has no front.json; finish the search with `hwnas search ... --resume`")
    raw = read_json(path)
    try:
        return Front.from_json(raw)
    except (RunFolderError, SchemaError) as error:
        raise type(error)(f"{path}: {error}") from error


def write_original(run_dir: Path, model: FrontModel) -> None:
    """Write `original.json`: the network that a run began with, as a model of the front is written."""
    write_json(run_dir / ORIGINAL, {"schema": ORIGINAL_SCHEMA, "model": model.to_json()})


def read_original(run_dir: Path, front: Front) -> FrontModel | None:
    """The network that a run began with; None if it began with none.

    Args:
        front: of the same run.
    Raises:
        RunFolderError: the file is damaged.
        SchemaError: another version wrote it.
    """
    path = run_dir / ORIGINAL
    if not path.exists():
        return None
    raw = read_json(path, schema=ORIGINAL_SCHEMA)
    try:
        return FrontModel.from_json(raw.get("model"), space=front.space, devices=front.devices)
    except RunFolderError as error:
        raise RunFolderError(f"{path}: {error}") from error


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, relative: str) -> Path:
    """Join a path that came from a file; it must stay in `folder`.

    Raises:
        RunFolderError: the path is absolute or leaves the folder.
    """
    path = (folder / relative).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RunFolderError(f"path {relative!r} leaves {folder}; the file that names it is damaged or hostile")
    return path


def cache_dir() -> Path:
    """Folder for what can be made again: `$HWNAS_CACHE`, else `$XDG_CACHE_HOME/hwnas`, else `~/.cache/hwnas`."""
    if own := os.environ.get("HWNAS_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hwnas"
