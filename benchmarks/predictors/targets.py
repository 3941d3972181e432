"""The published latencies that the shipped predictors learn from, as operations and milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.core.candidate import Candidate
from hwnas.core.ops import OpList
from hwnas.core.task import TaskShape
from hwnas.latency.fit import Origin
from hwnas.plugins import load_plugin
from hwnas.trace import operations

DATA = Path(__file__).parents[2] / "../shared/data/nasbench201"
_EDGES = ("e01", "e02", "e12", "e03", "e13", "e23")
_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")  # by code in archs.parquet
_TABLE = "copied from Ren-Research/OneProxy (MIT), its 1,999 architectures"
_EAGLE = f"EAGLE / LatBench of BRP-NAS, Dudziak et al., NeurIPS 2020, github.com/SamsungLabs/eagle; {_TABLE}"
_RICE = f"HW-NAS-Bench, Li et al., ICLR 2021, github.com/GATECH-EIC/HW-NAS-Bench; {_TABLE}"
_HELD_OUT = "figures are of 10-fold cross-validation: each network was predicted by a fit without it"


@dataclass(frozen=True, slots=True)
class Target:
    """One column of the table, and where it comes from."""

    column: str
    origin: Origin
    drops_dead: bool = False  # whether edges without effect were not run


def _origin(device: str, runtime: str, precision: str, statistic: str, source: str, licence: str, note: str) -> Origin:
    return Origin(
        device=device, runtime=runtime, precision=precision, statistic=statistic, source=source, licence=licence,
        spaces=("nasbench201",), input_shapes=((3, 32, 32),), note=f"{note}; {_HELD_OUT}",
    )  # fmt: skip


_NANO = (
    "mean as published (within the interquartile range, as EAGLE's tools/calc_stats.py does)",
    _EAGLE,
    "Apache-2.0 (EAGLE), MIT (OneProxy)",
    "the source states neither runtime, its version nor power mode; operations without effect were not run",
)
TARGETS = (
    Target("eagle_jetson", _origin("jetson-nano", "not-stated", "fp32", *_NANO), drops_dead=True),
    Target("eagle_jetson_16", _origin("jetson-nano", "not-stated", "fp16", *_NANO), drops_dead=True),
    Target(
        "rice_edgegpu",
        _origin(
            "jetson-tx2",
            "tensorrt",
            "fp32",
            "mean as published (of 50 calls after 3 s of warm-up)",
            _RICE,
            "MIT",
            "TensorRT by torch2trt, as dev/proj_edgegpu of the source shows; its version and the power mode are not "
            "stated; edges of kind none were run as a multiplication by zero, which no operation list shows",
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Table:
    """Networks with a live path, and their latencies.

    Attributes:
        index: NAS-Bench-201 index of each, `n`.
        whole: fp32 operations of every edge, `n`.
        lean: without edges that have no effect, `n`.
        latency_ms: column -> `n`.
    """

    index: NDArray[np.int64]
    whole: tuple[OpList, ...]
    lean: tuple[OpList, ...]
    latency_ms: dict[str, NDArray[np.float64]]

    def networks(self, target: Target) -> tuple[OpList, ...]:
        """What the target ran, at its precision."""
        chosen = self.lean if target.drops_dead else self.whole
        return tuple(network.at(target.origin.precision) for network in chosen)


def load_table(folder: Path = DATA) -> Table:
    """Read the published table; cells whose output does not depend on their input are left out."""
    import pyarrow.parquet as pq

    latency = pq.read_table(folder / "latency_oneproxy_1999.parquet")
    architectures = pq.read_table(folder / "archs.parquet", columns=["idx", *_EDGES]).to_pydict()
    task = TaskShape((3, 32, 32), 10)
    space = load_plugin("space", "nasbench201").for_task(task)
    index, whole, lean, rows = [], [], [], []
    for row, number in enumerate(latency["idx"].to_pylist()):
        values = {edge: _OPERATIONS[architectures[edge][number]] for edge in _EDGES}
        if not space.accepts(values):
            continue
        index.append(number)
        rows.append(row)
        architecture = space.architecture(values)
        whole.append(operations(space, Candidate(architecture), task))
        lean.append(operations(space, Candidate(space.canonical(architecture)), task))
    columns = {target.column for target in TARGETS}
    found = {name: latency[name].to_numpy()[rows].astype(float) for name in columns}
    return Table(np.array(index), tuple(whole), tuple(lean), found)
