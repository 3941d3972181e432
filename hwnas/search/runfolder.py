"""The folder of a run: made once, locked while a search writes to it, checked when a search goes on."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError, RunFolderError
from hwnas.search.config import SearchConfig
from hwnas.search.roundlog import rounds_are_over
from hwnas.store import PART, read_json, remove_parts, write_json

__all__ = ["CONFIG", "RunFolder"]

CONFIG = "config.json"
JOURNAL = "study.journal"
LOCK = ".lock"
SCHEMA = 1
# What a resumed search may be given anew; all else is what the run began with.
_FREE = {"out", "resume", "n_trials", "time_s", "n_front", "cluster"}
_VERSIONS = ("hwnas", "torch", "optuna", "onnxruntime", "numpy")


def _is_finished(path: Path) -> bool:
    return (path / "front.json").exists() and rounds_are_over(path)


class RunFolder:
    """Paths of a run, and its `config.json`.

    Attributes:
        path: the folder.
        config: the settings that the search runs with.
    """

    def __init__(self, path: Path, config: SearchConfig) -> None:
        self.path, self.config = path, config

    @property
    def journal(self) -> Path:
        """The Optuna journal."""
        return self.path / JOURNAL

    @property
    def is_finished(self) -> bool:
        """Whether the front was written, and no further round was to come."""
        return _is_finished(self.path)

    @classmethod
    def open(cls, config: SearchConfig, *, label: str) -> RunFolder:
        """Make the folder of a new search, or open the one that is to go on.

        Args:
            config: what was asked for.
            label: how a new folder under `runs/` is named.
        Raises:
            RunFolderError: the folder exists and `resume` was not asked for; or it does not, and it was; it is damaged,
                or not writable.
            ConfigError: the run began with other settings.
            SchemaError: the run was made by a newer version.
        """
        if config.resume:
            return cls._resumed(config, label)
        path = config.out or cls._free_name(label)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if path.exists():
                raise cls._taken(path) from error
            raise RunFolderError(f"cannot make {path}: {error.strerror}; choose another folder with --out") from error
        folder = cls(path, replace(config, out=path))
        if not folder._is_unused():
            raise cls._taken(path)
        if not os.access(path, os.W_OK):
            raise RunFolderError(f"{path} is not writable; choose another folder with --out")
        with folder.locked():
            if not folder._is_unused():  # another search was faster
                raise cls._taken(path)
            folder.write_config({})
        return folder

    def _is_unused(self) -> bool:
        """Whether there is nothing in it but what a search leaves that was killed before it wrote its settings."""
        return all(path.name == LOCK or path.name.endswith(PART) for path in self.path.iterdir())

    @staticmethod
    def _taken(path: Path) -> RunFolderError:
        return RunFolderError(f"{path} exists already; go on with --resume, or choose another folder with --out")

    @staticmethod
    def _free_name(label: str) -> Path:
        number = 1
        while (path := Path("runs") / (label if number == 1 else f"{label}-{number}")).exists():
            number += 1
        return path

    @classmethod
    def _resumed(cls, config: SearchConfig, label: str) -> RunFolder:
        path = config.out or cls._latest(label)
        if not (path / CONFIG).exists():
            raise RunFolderError(f"{path} holds no search to resume; leave --resume out to begin one")
        began = cls.at(path).config
        default, settings = SearchConfig(devices=config.devices), config.to_json()
        for name, value in began.to_json().items():
            is_default = settings[name] == default.to_json()[name]
            if name not in _FREE and settings[name] != value and not (is_default and name != "devices"):
                raise ConfigError(
                    f"the run in {path} began with {name} {value!r}, got {settings[name]!r}; "
                    "leave the option out, or begin a new run with another --out"
                )
        free = ("n_trials", "time_s", "n_front")
        if config.storage is not None:
            began = replace(began, storage=config.storage)  # config.json has it without its password
        given = {name: value for name in free if (value := getattr(config, name)) != getattr(default, name)}
        return cls(path, replace(began, out=path, resume=True, cluster=config.cluster, **given))

    @classmethod
    def at(cls, path: Path) -> RunFolder:
        """The folder of a search that was begun.

        Raises:
            RunFolderError: there is none, or it is damaged.
            SchemaError: a newer version made it.
        """
        raw = read_json(path / CONFIG, schema=SCHEMA)
        try:
            return cls(path, SearchConfig.from_mapping(raw["settings"]))
        except (KeyError, TypeError, AttributeError, ConfigError) as error:
            raise RunFolderError(f"{path / CONFIG} is damaged ({error}); search again into a new --out") from error

    @property
    def found(self) -> dict[str, Any]:
        """What the search found out so far, and the `versions` that it runs with."""
        raw = read_json(self.path / CONFIG, schema=SCHEMA)
        return {key: value for key, value in raw.items() if key not in ("schema", "settings")}

    @staticmethod
    def _latest(label: str) -> Path:
        """The last run of this name that was not finished, else the last of all."""
        found = [p for p in Path("runs").glob(f"{label}*") if (p / CONFIG).exists()]
        if not found:
            raise RunFolderError(f"no run named {label}* in runs/; name the folder with --out, or leave --resume out")
        return max(found, key=lambda p: (not _is_finished(p), (p / CONFIG).stat().st_mtime))

    def write_config(self, found: Mapping[str, Any]) -> None:
        """Write `config.json`: settings, versions, and what the search found out (predictor ids, data, ...)."""
        versions = {name: version(name) for name in _VERSIONS}
        settings = replace(self.config, resume=False).to_json()
        write_json(self.path / CONFIG, {"schema": SCHEMA, "settings": settings, "versions": versions, **found})

    def check_same(self, found: Mapping[str, Any]) -> None:
        """Compare what a resumed search found out with what the run began with, and write what is new.

        Raises:
            ConfigError: the data, the space or the predictors are others than at the beginning.
        """
        self.require_same(found)
        self.write_config({k: v for k, v in self.found.items() if k != "versions"} | dict(found))

    def require_same(self, found: Mapping[str, Any]) -> None:
        """Like `check_same`, and nothing is written."""
        raw = self.found
        for name, value in found.items():
            if name in raw and raw[name] != value:
                raise ConfigError(
                    f"the run in {self.path} began with another {name} ({raw[name]!r}, now {value!r}); "
                    "begin a new run with another --out"
                )

    def study_name(self) -> str:
        """How the study is named in a storage; a new name, if none was kept: other machines may have such a folder."""
        known = self.found.get("study")
        return f"hwnas-{self.path.absolute().name}-{secrets.token_hex(4)}" if known is None else str(known)

    def keep_study_name(self, name: str) -> None:
        """Write the name of the study; workers wait for it."""
        if "study" not in self.found:
            self.check_same({"study": name})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock goes with the process, however it ends. What a killed one half wrote is removed.

        Raises:
            RunFolderError: another search holds it.
        """
        with (self.path / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunFolderError(f"another search is writing to {self.path}; wait for it to end") from error
            remove_parts(self.path)
            yield
