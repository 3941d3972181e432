"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.core.front import Front, FrontModel

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from hwnas.viz.table import Pick

__all__ = ["SearchResult"]


@dataclass(frozen=True, repr=False)
class SearchResult:
    """The finished front of a run. As the last line of a notebook's cell it is shown as a picture and a table.

    Attributes:
        run_dir: the run folder.
        details: the whole of `front.json`.
    """

    run_dir: Path
    details: Front

    def __repr__(self) -> str:
        models = f"{len(self.details.models)} models on {', '.join(self.details.devices)}"
        return f"{type(self).__name__}({str(self.run_dir)!r}: {self.details.task}, {models})"

    def _repr_html_(self) -> str:
        """What a notebook shows; works without a network."""
        from hwnas.viz.figure import front_html

        return front_html(self.details)

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

    def figure(self, device: str | None = None) -> Figure:
        """The front as a plotly figure: latency in ms against accuracy in %, to show, change or save.

        Args:
            device: one of the search's; None: the first.
        Raises:
            ConfigError: the search was not for that device.
        """
        from hwnas.viz.figure import front_figure

        return front_figure(self.details, device)

    def pick(
        self,
        *,
        device: str | None = None,
        max_latency_ms: float | None = None,
        max_energy_mj: float | None = None,
        max_size_mb: float | None = None,
        min_accuracy: float | None = None,
    ) -> Pick:
        """The model to take, as `row`, and `why`: the knee of the front; with limits, the best that keeps them.

        Args:
            device: one of the search's; None: the first.
            max_latency_ms: of the measured latency where there is one, else of the predicted one.
            max_energy_mj: of an inference, measured; models whose energy nobody read do not keep it.
            max_size_mb: of the file, in 1e6 bytes.
            min_accuracy: fraction 0-1.
        Raises:
            ConfigError: a limit is no limit, or the search was not for that device.
            InfeasibleBudgetError: no model keeps the limits; the message says how near the front comes.
        """
        from hwnas.viz.table import Limits, pick

        limits = Limits(
            max_latency_ms=max_latency_ms,
            max_energy_mj=max_energy_mj,
            max_size_mb=max_size_mb,
            min_accuracy=min_accuracy,
        )
        return pick(self.details, device=device, limits=limits)

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
