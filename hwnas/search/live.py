"""What a running search leaves in its folder for those who look: `progress.json`, `trials.jsonl`, and its report."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from hwnas.errors import HwnasError
from hwnas.search.evaluated import Evaluated, failures_of, write_trials
from hwnas.search.events import Listener
from hwnas.store import write_json

__all__ = ["PROGRESS", "SCHEMA", "Live"]

PROGRESS = "progress.json"
SCHEMA = 1
STATE_S = 1.0  # between two writings of the progress
REPORT_S = 30.0  # between two reports
_NOTES = 30  # that are kept


class Followed(Protocol):
    """What is needed of a study."""

    devices: tuple[str, ...]
    evaluated: list[Evaluated]

    @property
    def running(self) -> set[Any]:
        """What is being evaluated."""


class Live:
    """A listener that passes everything on, and writes down how far the search is.

    Whatever cannot be written is said once and never stops the search.

    Args:
        listener: of the search.
        clock_s: seconds of a clock that never goes back.
    """

    def __init__(self, listener: Listener, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._listener, self._clock_s = listener, clock_s
        self._folder: Path | None = None
        self._facts: dict[str, Any] = {}
        self._study: Followed | None = None
        self._phase: str | None = None
        self._total: int | None = None
        self._done = 0
        self._figures: dict[str, float | int | str] = {}
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._written_s = self._reported_s = -1e9
        self._is_broken = False

    def begin(self, folder: Path, task: str, space: str, seed: int) -> None:
        """From now on there is a folder to write to, which this process has locked."""
        self._folder, self._facts = folder, {"task": task, "space": space, "seed": seed}
        self._write()

    def follow(self, study: Followed, reference: Mapping[str, tuple[float, float]]) -> None:
        """From now on there are candidates to report.

        Args:
            reference: device -> the bad corner of its hypervolume.
        """
        self._study = study
        self._facts |= {"devices": list(study.devices), "reference_point": {d: list(c) for d, c in reference.items()}}
        self._write()

    def phase(self, name: str, total: int | None) -> None:
        """See Listener."""
        self._listener.phase(name, total)
        if self._phase is not None and self._study is not None:
            self._report()
        self._phase, self._total, self._done, self._figures = name, total, 0, {}
        self._write()

    def advance(self, n: int = 1, **info: float | int | str) -> None:
        """See Listener."""
        self._listener.advance(n, **info)
        self._done += n
        self._figures |= info
        now_s = self._clock_s()
        if now_s - self._written_s >= STATE_S:
            self._write()
        if self._study is not None and now_s - self._reported_s >= REPORT_S:
            self._report()

    def note(self, text: str) -> None:
        """See Listener."""
        self._listener.note(text)
        self._notes.append(text)
        self._write()

    def done(self) -> None:
        """See Listener."""
        self._listener.done()
        self._phase = None
        self._write()

    def _write(self) -> None:
        if self._folder is not None:
            self._written_s = self._clock_s()
            self._trying(lambda folder: write_json(folder / PROGRESS, self._state()))

    def _state(self) -> dict[str, Any]:
        study = self._study
        return {
            "schema": SCHEMA,
            **self._facts,
            "phase": self._phase,
            "done": self._done,
            "total": self._total,
            "figures": self._figures,
            "notes": list(self._notes),
            "evaluated": 0 if study is None else len(study.evaluated),
            "running_elsewhere": 0 if study is None else len(study.running),
            "errors": [] if study is None else failures_of(study.evaluated),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "updated": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _report(self) -> None:
        self._reported_s = self._clock_s()
        self._trying(self._write_report)

    def _write_report(self, folder: Path) -> None:
        from hwnas.search.state import RunReader, page_of
        from hwnas.viz.report import save_report

        assert self._study is not None
        write_trials(folder, self._study.evaluated)
        save_report(page_of(RunReader(folder, records=self._study.evaluated).look()), folder)

    def _trying(self, write: Callable[[Path], object]) -> None:
        assert self._folder is not None
        try:
            write(self._folder)
        except (HwnasError, OSError, ValueError) as error:
            if not self._is_broken:
                self._is_broken = True
                self._listener.note(f"what the search has so far cannot be shown, and it goes on: {error}")
