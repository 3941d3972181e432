"""The journal of a run folder: Optuna's append-only file, opened after whatever ended the process that wrote it."""

from __future__ import annotations

import re
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

__all__ = ["JournalReader", "created_trials", "open_journal"]


def open_journal(path: Path) -> BaseStorage:
    """Open the journal of a run folder that this process has locked.

    What a killed process left behind is cleared first: its lock, and a last line that it did not finish.
    """
    for stale in path.parent.glob(f"{path.name}.lock*"):
        stale.unlink(missing_ok=True)
    if path.exists():
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path)))


def created_trials(journal: Path) -> int:
    """How many trials the journal begins: optuna reads one without its first lines as an empty study."""
    return len(re.findall(rb'"op_code":\s*4\b', journal.read_bytes())) if journal.exists() else 0


class JournalReader:
    """Reads a journal that another process writes: takes no lock, changes nothing, and reads only what is new.

    Args:
        path: of the journal; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._storage: JournalStorage | None = None

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study as far as their lines are whole; none while there is no study.

        Raises:
            ValueError, KeyError: the file is no journal of optuna.
        """
        if self._storage is None:
            if not self._path.exists():
                return []
            self._storage = JournalStorage(JournalFileBackend(str(self._path)))
        studies = self._storage.get_all_studies()
        return [] if not studies else self._storage.get_all_trials(studies[0]._study_id, deepcopy=False)
