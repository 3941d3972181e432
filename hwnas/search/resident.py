"""A process on a cluster, with a folder of its own, and what goes to and fro between it and the run folder."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hwnas import errors
from hwnas.core.error_text import first_line
from hwnas.errors import HwnasError, RunFolderError
from hwnas.export.bundle import MANIFEST
from hwnas.store import inside, write_atomic

__all__ = [
    "LEAVE_S",
    "MOST_LOSSES",
    "PATIENCE_S",
    "Files",
    "Reply",
    "Resident",
    "error_of",
    "read_files",
    "write_files",
]

MOST_LOSSES = 3  # processes that one piece of work may lose
PATIENCE_S = 600.0  # without any process, until the search ends
LEAVE_S = 5.0  # for a process to remove what it wrote

Files = Mapping[str, bytes]  # paths in the run folder -> contents


@dataclass(frozen=True)
class Reply:
    """What a process answers.

    Attributes:
        value: of what it was asked; None if that failed.
        error: name of the class, and message, of a HwnasError.
        files: that the run folder should have.
    """

    value: Any = None
    error: tuple[str, str] | None = None
    files: Files | None = None


class Resident(ABC):
    """Runs on the cluster, in a folder of its own that is like the run folder.

    Args:
        n_threads: of torch.
        home: where the folder is made; None: with the system's temporary files.
    """

    def __init__(self, n_threads: int, home: str | None) -> None:
        self.n_threads = n_threads
        torch.set_num_threads(n_threads)
        self.folder = Path(tempfile.mkdtemp(prefix="hwnas-", dir=home))

    def prepare(self, kit: Sequence[Any]) -> Reply:
        """Take the kit: a reference to it, in a list, so that it is this method that unpacks it.

        The value of the reply is what `_take` gives.
        """
        import ray

        try:
            found = ray.get(kit[0])
        except ray.exceptions.RaySystemError as error:  # a space or task of the user's whose module is not here
            return Reply(error=("ClusterError", f"the space or task cannot be unpacked here: {first_line(error)}"))
        return self._replying(lambda: self._take(found))

    def leave(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def name(self) -> str:
        """For the user."""
        return f"{os.getpid()} on {socket.gethostname()}"

    @abstractmethod
    def _take(self, kit: Any) -> Any:
        """Make what the kit is for."""

    def _replying(self, do: Callable[[], Any]) -> Reply:
        try:
            return Reply(do())
        except HwnasError as error:
            return Reply(error=(type(error).__name__, str(error)))


def error_of(said: tuple[str, str]) -> HwnasError:
    """The error that a process was stopped by."""
    kind = getattr(errors, said[0], None)
    made = kind.__new__(kind) if isinstance(kind, type) and issubclass(kind, HwnasError) else HwnasError()
    made.args = (said[1],)
    return made


def read_files(folder: Path, names: Sequence[str]) -> dict[str, bytes]:
    """Those of the files that there are."""
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


def write_files(folder: Path, files: Files, within: Sequence[str] = (".",)) -> None:
    """Write files to a folder, in their order; a manifest last, since a model that has one is whole.

    Raises:
        RunFolderError: a path leads out of `within`.
    """
    for name in sorted(files, key=lambda name: name.endswith(MANIFEST)):
        path = inside(folder, name)
        if not any(path.is_relative_to((folder / place).resolve()) for place in within):
            raise RunFolderError(f"{name} is no file of {within[0]}; the cluster sent what was not asked for")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, files[name])
