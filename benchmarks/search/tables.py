"""Published tables as search problems: networks of known accuracy and speed, and what a sampler is told of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hwnas.search_spaces.nasbench201 import CODES
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from sklearn.preprocessing import OneHotEncoder

from hwnas.core.candidate import Candidate
from hwnas.core.pareto import hypervolume_within
from hwnas.core.space import Value
from hwnas.core.task import TaskShape
from hwnas.latency.features import features_matrix
from hwnas.plugins import load_plugin
from hwnas.trace import operations

__all__ = ["TABLES", "MnasNet", "NasBench201", "Table"]

FloatArray = NDArray[np.float64]


class Table(ABC):
    """Networks of a space, numbered.

    Attributes:
        name: of the space.
        devices: those that are reported.
        worst_error: beyond it nothing counts.
        values: choices of each network.
        error: of each network, 0-1.
        features: of each network's operations.
    """

    name: str
    devices: tuple[str, ...]
    worst_error: float
    values: list[dict[str, Value]]
    error: FloatArray
    features: FloatArray

    def __init__(self, task: TaskShape) -> None:
        space = load_plugin("space", self.name).for_task(task)
        networks = [operations(space, Candidate(space.architecture(values)), task) for values in self.values]
        self.features = np.log1p(features_matrix(networks)[0])
        labels = list(self.values[0])
        options = {label: sorted({values[label] for values in self.values}) for label in labels}
        self.space: dict[str, BaseDistribution] = {
            label: CategoricalDistribution(found) for label, found in options.items()
        }

    @abstractmethod
    def cost_ms(self, device: str) -> FloatArray:
        """Of each network on a device; nan where it was not measured."""

    @abstractmethod
    def numbers(self, several: Sequence[Mapping[str, Any]]) -> list[int]:
        """The networks that parameters stand for."""

    def number(self, params: Mapping[str, Any]) -> int:
        """The network that parameters stand for."""
        return self.numbers([params])[0]

    def problem(self, device: str) -> tuple[FloatArray, tuple[float, float], float]:
        """Costs in ms, the bad corner, and the hypervolume of all networks."""
        cost_ms = self.cost_ms(device)
        worst = float(np.nanpercentile(cost_ms[self.error < self.worst_error], 99)), self.worst_error
        return cost_ms, worst, self.hypervolume(range(len(cost_ms)), cost_ms, worst)

    def hypervolume(self, seen: Iterable[int], cost_ms: FloatArray, worst: tuple[float, float]) -> float:
        """Of some networks."""
        at = list(seen)
        return hypervolume_within(np.stack([cost_ms[at], self.error[at]], axis=1), worst)


class NasBench201(Table):
    """All 15,625 networks: accuracies on CIFAR-10 (test, 200 epochs), latencies of HELP.

    Attributes:
        early_error: on the validation split, of networks that were trained for 12 epochs only.
    """

    name = "nasbench201"
    devices = ("gold_6226", "raspi4", "2080ti_1", "samsung_a50", "fpga")
    worst_error = 0.3

    def __init__(self, data: Path) -> None:
        folder = data / "nasbench201"
        edges = pq.read_table(folder / "archs.parquet").to_pydict()
        labels = ("e01", "e02", "e12", "e03", "e13", "e23")
        codes = zip(*[edges[label] for label in labels], strict=True)
        self.values = [{label: CODES[op] for label, op in zip(labels, code, strict=True)} for code in codes]
        self._number = {tuple(values.values()): at for at, values in enumerate(self.values)}
        accuracies = pq.read_table(folder / "accuracy.parquet").to_pydict()
        self.error, self.early_error = (
            1 - np.array(accuracies[name], dtype=float) / 100 for name in ("c10_test_200ep", "c10_val_12ep")
        )
        self._latencies = pq.read_table(folder / "latency_help.parquet").to_pydict()
        super().__init__(TaskShape((3, 32, 32), 10))

    def cost_ms(self, device: str) -> FloatArray:
        return np.array(self._latencies[device], dtype=float)

    def numbers(self, several: Sequence[Mapping[str, Any]]) -> list[int]:
        return [self._number[tuple(params[label] for label in self.space)] for params in several]


class MnasNet(Table):
    """The 5,138 networks of Accel-NASBench, of some 10^9: accuracies on ImageNet, and the time an image takes at full
    throughput.

    Parameters stand for the network of the table that differs from them in the fewest choices.
    """

    name = "mnasnet"
    devices = ("a100", "tpuv2", "tpuv3", "zcu102", "vck190")
    worst_error = 0.45

    def __init__(self, data: Path) -> None:
        self._table = pq.read_table(data / "mnasnet" / "measurements.parquet").to_pydict()
        labels = sorted(f"b{stage}_{kind}" for stage in range(7) for kind in ("e", "k", "l", "se"))
        columns = zip(*[self._table[label] for label in labels], strict=True)
        self.values = [dict(zip(labels, map(int, row), strict=True)) for row in columns]
        self.error = 1 - np.array(self._table["val_top1"], dtype=float) / 100
        super().__init__(TaskShape((3, 224, 224), 1000))
        self._encoding = OneHotEncoder(dtype=np.float32, sparse_output=False)
        self._rows = self._encoding.fit_transform(self._matrix(self.values)).T

    def _matrix(self, several: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
        return np.array([[int(params[label]) for label in self.values[0]] for params in several])

    def cost_ms(self, device: str) -> FloatArray:
        return 1000 / np.array(self._table[f"throughput_{device}_mean"], dtype=float)

    def numbers(self, several: Sequence[Mapping[str, Any]]) -> list[int]:
        shared = self._encoding.transform(self._matrix(several)) @ self._rows  # choices that are the same
        return [int(at) for at in shared.argmax(axis=1)]


TABLES: dict[str, type[Table]] = {"nasbench201": NasBench201, "mnasnet": MnasNet}
