"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.core.front import Front, FrontModel

__all__ = ["SearchResult"]


@dataclass(frozen=True)
class SearchResult:
    """The finished front of a run.

    Attributes:
        run_dir: the run folder.
        details: the whole of `front.json`.
    """

    run_dir: Path
    details: Front

    @property
    def front(self) -> list[FrontModel]:
        """The models, fastest first; latency is measured where it could be, else predicted (`model.latency` says)."""
        return list(self.details.models)

    @property
    def original(self) -> FrontModel | None:
        """The network that was compressed, whether or not it is on the front; None after a search.

        Raises:
            RunFolderError: its file is damaged.
        """
        from hwnas.store import read_original

        return read_original(self.run_dir, self.details)

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file that works offline, and return its path.

        Raises:
            RunFolderError: it cannot be written.
        """
        from hwnas.viz.report import write_report

        return write_report(self.run_dir, None if path is None else Path(path))

    def export(self, model_id: str, *, format: str | None = None, to: str | Path) -> dict[str, Any]:
        """Copy a model's file and manifest into a folder that is new or empty; returns the manifest.

        Raises:
            ConfigError: unknown model or format.
            RunFolderError: the folder has files, or cannot be written.
        """
        from hwnas.export.copy import copy_model

        return copy_model(self.run_dir, model_id, format=format, to=Path(to))
