"""The user's own devices: a JSON file each, in `$HWNAS_CONFIG/devices`, written by `hwnas device add`."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

from hwnas.core.device import Device
from hwnas.errors import ConfigError, RunFolderError
from hwnas.store import inside, read_json, write_json

__all__ = ["config_dir", "own_devices", "remove_own_device", "write_own_device"]

SCHEMA = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_LISTS = ("precisions", "aliases", "cpu_flags", "sensors", "power_modes")


def config_dir() -> Path:
    """Folder for what the user decided: `$HWNAS_CONFIG`, else `$XDG_CONFIG_HOME/hwnas`, else `~/.config/hwnas`."""
    if own := os.environ.get("HWNAS_CONFIG"):
        return Path(own)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "hwnas"


def own_devices() -> list[Device]:
    """All of them, sorted by name.

    Raises:
        ConfigError: a file is damaged, has unknown keys, or names another device than itself.
        SchemaError: a newer version wrote it.
    """
    return [_read(path) for path in sorted((config_dir() / "devices").glob("*.json"))]


def write_own_device(device: Device) -> Path:
    """Keep a device; the file that was written.

    Raises:
        ConfigError: its name is none for a file.
        RunFolderError: the folder is not writable.
    """
    path = _path(device.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA, **dataclasses.asdict(device)})
    return path


def remove_own_device(name: str) -> Path:
    """Forget a device; the file that is gone.

    Raises:
        ConfigError: there is none of this name.
    """
    path = _path(name)
    if not path.is_file():
        known = ", ".join(file.stem for file in sorted(path.parent.glob("*.json"))) or "none"
        raise ConfigError(f"no device of your own is named {name!r}; yours: {known}")
    path.unlink()
    return path


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a device; allowed: small letters, digits and '-', such as my-pi")
    return inside(config_dir() / "devices", f"{name}.json")


def _read(path: Path) -> Device:
    try:
        raw: dict[str, Any] = dict(read_json(path, schema=SCHEMA))
    except RunFolderError as error:
        raise ConfigError(f"{error}; mend {path} or remove it") from error
    raw.pop("schema")
    known = {field.name for field in dataclasses.fields(Device)}
    if unknown := sorted(raw.keys() - known):
        raise ConfigError(f"{path}: unknown keys {', '.join(unknown)}; allowed: {', '.join(sorted(known))}")
    for key in _LISTS:
        if key in raw:
            if not isinstance(raw[key], list) or not all(isinstance(item, str) for item in raw[key]):
                raise ConfigError(f"{path}: {key} must be a list of texts, got {raw[key]!r}; mend or remove the file")
            raw[key] = tuple(raw[key])
    try:
        device = Device(**raw)
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no device ({error}); mend or remove it, then `hwnas device add`") from error
    if device.name != path.stem:
        raise ConfigError(f"{path} names the device {device.name!r}; rename the file or the device")
    return device
