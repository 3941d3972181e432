"""A device like many: what fitting starts from where measurements are few."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.features import CLASSES, COLUMNS, ROLES, quantity_column

__all__ = ["generic_costs", "generic_ms", "simple_ms"]

FloatArray = NDArray[np.float64]

_HEAVY = {"conv3", "conv5", "pointwise", "depthwise3", "depthwise5", "depthwise7", "grouped", "linear", "matmul"}
_LIVE = ("first", "again")


def generic_costs() -> tuple[FloatArray, FloatArray]:
    """Costs on a device like many, ms: per operation, and per million MACs or megabyte. Only their ratios matter."""
    counts, work = np.zeros(len(COLUMNS)), np.zeros(len(COLUMNS))
    for number, name in enumerate(CLASSES):
        counts[number * len(ROLES) : number * len(ROLES) + 2] = (
            0.02 if name in _HEAVY else 0.002 if name == "fused" else 0.01
        )
        work[quantity_column(number, 0)] = 0.15 if name.startswith("depthwise") else 0.05
        work[quantity_column(number, 1)] = 0.05 if name == "fused" else 0.1
        work[quantity_column(number, 2)] = 0.1
    return counts, work


def generic_ms(features: FloatArray) -> FloatArray:
    """ms of networks on a device like many, `n x len(COLUMNS)` -> `n`; only ratios mean something."""
    counts, work = generic_costs()
    return np.maximum(features @ (counts + work), 1e-12)


def simple_ms(features: FloatArray) -> FloatArray:
    """Networks on devices that everybody can imagine, `n x len(COLUMNS)` -> `n x 5`, > 0; only ratios mean something.

    They take the same for each operation, for each that is needed, for each MAC, for each byte; the last is generic.
    """
    roles = len(CLASSES) * len(ROLES)
    live = [at for at in range(roles) if ROLES[at % len(ROLES)] in _LIVE]
    macs, megabytes = ([quantity_column(number, q) for number in range(len(CLASSES))] for q in (0, 1))
    sums = [features[:, :roles], features[:, live], features[:, macs], features[:, megabytes]]
    columns = np.column_stack([*(part.sum(axis=1) for part in sums), generic_ms(features)])
    return np.asarray(np.maximum(columns, 1e-3 * np.maximum(columns.mean(axis=0), 1e-9)))
