"""Copy a finished model out of a run folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError, RunFolderError, nearest
from hwnas.export.bundle import MANIFEST, SCHEMA
from hwnas.export.companions import write_companions
from hwnas.export.verify import verify_file
from hwnas.store import inside, read_json, write_json

__all__ = ["copy_model", "model_ids"]


def model_ids(run: Path) -> list[str]:
    """Ids of the finished models of a run, sorted."""
    return sorted(path.parent.name for path in (run / "models").glob(f"*/{MANIFEST}"))


def copy_model(run: Path, model_id: str, *, format: str | None, to: Path) -> dict[str, Any]:
    """Copy a model file and its manifest to `to`, check the copy, and add what makes it useful without hwnas.

    Args:
        run: a run folder with models/<id>/manifest.json.
        model_id: one of `model_ids(run)`.
        format: of one of the files that the model has, as in its manifest; None: the first.
        to: a folder that does not exist yet or is empty.
    Returns:
        The manifest of the copy, which says what there is to say of that file; its artifact path is relative to `to`.
    Raises:
        ConfigError: unknown format or model.
        RunFolderError: `to` has files or cannot be written, or the model file is missing or was changed.
        SchemaError: the manifest was written by another version.
    """
    known = model_ids(run)
    if model_id not in known:
        guess = nearest(model_id, known)
        hint = f" Did you mean {guess!r}?" if guess else ""
        raise ConfigError(f"{run} has no finished model {model_id!r};{hint} known: {', '.join(known) or 'none'}")
    manifest = read_json(run / "models" / model_id / MANIFEST, schema=SCHEMA)
    try:
        files = {str(facts["artifact"]["format"]): facts for facts in (manifest, *manifest.pop("others", ()))}
        own = next(iter(files)) if format is None else format
        if own in files:
            manifest |= files[own]
        artifact = dict(manifest["artifact"])
        source, promised = inside(run, str(artifact["path"])), str(artifact["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"the manifest of model {model_id!r} in {run} is damaged; finish the run again") from error
    if own not in files:
        raise ConfigError(f"model {model_id!r} has no {format!r} file; allowed: {', '.join(files)}")
    verify_file(source, promised)
    target = _prepare(to) / source.name
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise RunFolderError(f"cannot write {target}: {error.strerror}; choose another --to") from error
    verify_file(target, promised)
    manifest["artifact"] = artifact | {"path": target.name}
    write_json(to / MANIFEST, manifest)
    write_companions(to, manifest)
    return manifest


def _prepare(to: Path) -> Path:
    try:
        to.mkdir(parents=True, exist_ok=True)
        taken = sorted(path.name for path in to.iterdir())
    except OSError as error:
        raise RunFolderError(f"cannot use {to} as a folder: {error.strerror}; choose another --to") from error
    if taken:
        raise RunFolderError(f"{to} already has files ({', '.join(taken[:3])}); choose an empty folder as --to")
    return to
