"""The published tables of latencies, as operations and milliseconds; see the README of each folder of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.ops import OpList
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskShape
from hwnas.latency.recorded import architecture_of
from hwnas.plugins import load_plugin
from hwnas.trace import operations

__all__ = ["DATA", "Rows", "Table"]

DATA = Path(__file__).parents[2] / "../shared/data"
FloatArray = NDArray[np.float64]

EDGES = ("e01", "e02", "e12", "e03", "e13", "e23")
# name -> (space, folder, table of architectures, tables of latencies)
_FILES = {
    "nasbench201": ("nasbench201", "nasbench201", "archs", ("latency_help", "latency_oneproxy_1999")),
    "fbnet": ("fbnet", "fbnet", "archs", ("latency_help",)),
    "ofa": ("ofa-mobilenetv3", "ofa_mbv3", "archs", ("latency_help",)),
    "mnasnet": ("mnasnet", "mnasnet", "measurements", ("measurements",)),
}


@dataclass(frozen=True)
class Rows:
    """Latencies of a column, and the networks that they are of.

    Attributes:
        index: row of each network in the table of architectures, `n`.
        latency_ms: `n`; for throughputs, 1000 / (images per second).
    """

    index: NDArray[np.int64]
    latency_ms: FloatArray

    def __len__(self) -> int:
        return len(self.index)

    def take(self, chosen: NDArray[Any]) -> Rows:
        """Some of the rows."""
        return Rows(self.index[chosen], self.latency_ms[chosen])


class Table:
    """One space's published table.

    Args:
        name: "nasbench201", "fbnet", "ofa" or "mnasnet".
        folder: of all tables.
    """

    def __init__(self, name: str, folder: Path = DATA) -> None:
        self.name, self.folder = name, folder
        self._space, self._folder, self._architectures, self._latencies = _FILES[name]
        self._known: dict[tuple[int, bool], OpList] = {}

    @cached_property
    def space(self) -> SearchSpace:
        """The table's space, bound to the input that was measured."""
        space: SearchSpace = load_plugin("space", self._space)
        return space.for_task(self.task)

    @cached_property
    def task(self) -> TaskShape:
        """The input that was measured, and ten outputs."""
        shape = load_plugin("space", self._space).input_shape
        assert shape is not None
        return TaskShape(shape, 10)

    def _read(self, table: str) -> Any:
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / self._folder / f"{table}.parquet")

    @cached_property
    def _columns(self) -> Mapping[str, list[Any]]:
        return self._read(self._architectures).to_pydict()  # type: ignore[no-any-return]

    def architecture(self, row: int) -> Architecture:
        """The architecture of a row."""
        values = {choice.label: int(self._columns[choice.label][row]) for choice in self.space.choices}
        architecture = architecture_of(self.space, values)
        return architecture if self.space.codes else self.space.canonical(architecture)

    def network(self, row: int, *, drops_dead: bool = False) -> OpList:
        """fp32 operations of a row; kept.

        Args:
            drops_dead: whether edges without effect were not run (NAS-Bench-201).
        """
        found = self._known.get((row, drops_dead))
        if found is None:
            architecture = self.architecture(row)
            if drops_dead:
                architecture = self.space.canonical(architecture)
            found = self._known[row, drops_dead] = operations(self.space, Candidate(architecture), self.task)
        return found

    def networks(self, rows: Rows, *, drops_dead: bool = False, precision: str = "fp32") -> list[OpList]:
        """Operations of rows at a precision."""
        return [self.network(int(row), drops_dead=drops_dead).at(precision) for row in rows.index]

    def rows(self, column: str) -> Rows:
        """Rows of a column that have a latency > 0, without networks that nothing reaches.

        Raises:
            KeyError: no table has the column.
        """
        for name in self._latencies:
            table = self._read(name)
            if column not in table.column_names:
                continue
            index = table["idx"].to_numpy() if "idx" in table.column_names else np.arange(table.num_rows)
            value = table[column].to_numpy(zero_copy_only=False).astype(float)
            if column.startswith("throughput"):
                value = 1000 / value
            keep = np.isfinite(value) & (value > 0)
            if self.name == "nasbench201":
                keep &= np.array([self.is_live(int(row)) for row in index])
            return Rows(index[keep].astype(np.int64), value[keep])
        raise KeyError(f"no table of {self.name} has a column {column!r}")

    @cached_property
    def _live_codes(self) -> set[tuple[int, ...]]:
        from itertools import product

        labels = dict(zip(EDGES, range(6), strict=True))
        found = set()
        for codes in product(range(5), repeat=6):
            if self.space.accepts({edge: self.space.codes[codes[at]] for edge, at in labels.items()}):
                found.add(codes)
        return found

    def columns(self) -> list[str]:
        """Names of the columns of latencies."""
        names = [name for table in self._latencies for name in self._read(table).column_names]
        if self.name == "mnasnet":
            return [n for n in names if n.endswith("_mean")]
        return [name for name in names if name != "idx"]

    def is_live(self, row: int) -> bool:
        """Whether the output of a cell depends on its input (NAS-Bench-201)."""
        return tuple(self._columns[edge][row] for edge in EDGES) in self._live_codes
