"""The numbers of a predictor: a non-negative linear prior, and a Gaussian process on what it leaves over.

The process is a sum of three smooth functions, of a network's features, of its totals and of its single operations.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import PredictorError
from hwnas.latency.channels import BLOCKS
from hwnas.latency.features import totals
from hwnas.latency.inventory import POINT, Inventory, op_kernel

__all__ = ["Model", "Smooth", "kernel", "log_totals"]

FloatArray = NDArray[np.float64]

MAX_SUPPORT = 600
# A residual beyond a factor of e is not believed, whatever the weights in a file say.
MAX_RESIDUAL = 1.0
N_TOTALS, _LEAST_TOTAL = 4, 1e-6
_WHOLE = ("flow", "block")  # numbers that are no floats


def kernel(left: FloatArray, right: FloatArray, length: float) -> FloatArray:
    """Squared-exponential kernel of unit variance, `n x d` and `m x d` -> `n x m`."""
    square = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    found: FloatArray = np.exp(np.maximum(square, 0) / (-2 * length * length))
    return found


def log_totals(sums: FloatArray) -> FloatArray:
    """What `Model.by_totals` reads of totals, `n x 4` each; see `hwnas.latency.features.totals`."""
    return np.log(np.maximum(sums, _LEAST_TOTAL))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Smooth:
    """A sum of kernels around points.

    Attributes:
        center, scale: `d`; inputs are (x - center) / scale.
        support, alpha: points (`m x d`, standardised) and their weights (`m`); m = 0: the function is 0.
        length: length scale of the kernel.
    """

    center: FloatArray
    scale: FloatArray
    support: FloatArray
    alpha: FloatArray
    length: float

    @classmethod
    def none(cls) -> Smooth:
        """The function that is 0."""
        return cls(center=np.empty(0), scale=np.empty(0), support=np.empty((0, 0)), alpha=np.empty(0), length=1.0)

    def __call__(self, inputs: FloatArray) -> FloatArray:
        """`n x d` -> `n`; 0 far from the points."""
        if not len(self.alpha):
            return np.zeros(len(inputs))
        return kernel((inputs - self.center) / self.scale, self.support, self.length) @ self.alpha

    def is_sound(self, d: int) -> bool:
        """Whether the arrays fit together and the scales are positive."""
        m = len(self.alpha)
        shapes = (self.center.shape, self.scale.shape, self.support.shape, self.alpha.ndim)
        return (
            shapes == ((d,), (d,), (m, d), 1) and m <= MAX_SUPPORT and bool((self.scale > 0).all() and self.length > 0)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Everything that is needed to turn features into milliseconds.

    Attributes:
        weights: ms per unit of each feature column, >= 0.
        intercept: ms of a network without operations, >= 0.
        floor: no prediction is below it, ms, > 0.
        columns: which feature columns the residual reads, `d` indices.
        by_columns: log factor by these.
        by_totals: log factor by the logarithms of a network's four totals.
        op_points, op_alpha: operations (`m x POINT`) around which single ones are corrected, and weights (`m`).
        width: half of the 90 % interval, on log latency.
        flow: 1 if the features were computed with data flow, else 0.
        block: features are those of the networks with their channels in blocks of so many; see `channels.in_blocks`.
    Raises:
        PredictorError: shapes do not fit, a number is not finite or has the wrong sign.
    """

    weights: FloatArray
    intercept: float
    floor: float
    columns: NDArray[np.int64]
    by_columns: Smooth
    by_totals: Smooth
    op_points: FloatArray
    op_alpha: FloatArray
    width: float
    flow: int
    block: int = 1

    def __post_init__(self) -> None:
        points = (len(self.op_alpha), POINT)
        fits = self.weights.ndim == self.op_alpha.ndim == 1 and self.op_points.shape == points
        n_totals = len(self.by_totals.center)
        if not fits or points[0] > MAX_SUPPORT or n_totals not in (0, N_TOTALS):
            raise PredictorError("a predictor's arrays do not fit together; calibrate again")
        if not all(np.isfinite(array).all() for array in self.to_arrays().values()):
            raise PredictorError("a predictor holds numbers that are not finite; calibrate again")
        if not (self.by_columns.is_sound(len(self.columns)) and self.by_totals.is_sound(n_totals)):
            raise PredictorError("a predictor's arrays do not fit together; calibrate again")
        signs = (self.weights >= 0).all() and self.intercept >= 0 and self.floor > 0
        if not signs or not 0 < self.width < math.log(1e3) or self.flow not in (0, 1) or self.block not in (1, *BLOCKS):
            raise PredictorError("a predictor holds a number of the wrong sign; calibrate again")
        if len(self.columns) and not (self.columns.min() >= 0 and self.columns.max() < len(self.weights)):
            raise PredictorError("a predictor reads columns that its schema does not have; calibrate again")

    def prior(self, features: FloatArray) -> FloatArray:
        """ms of the linear part, `n x all columns` -> `n`; > 0 and never lower with more work."""
        return np.maximum(features @ self.weights + self.intercept, self.floor)

    def op_factor(self, points: FloatArray) -> FloatArray:
        """Log factor on the prior of single operations, `n x POINT` -> `n`; 0 far from those that were measured."""
        if not len(self.op_alpha):
            return np.zeros(len(points))
        return op_kernel(points, self.op_points) @ self.op_alpha

    def residual(self, inputs: FloatArray, sums: FloatArray, by_operations: FloatArray) -> FloatArray:
        """Log factor on the prior, `n`.

        Args:
            inputs: the columns that the residual reads, `n x d`.
            sums: of the networks, see `hwnas.latency.features.totals`, `n x 4`.
            by_operations: factors of the operations, weighted by their shares of the prior, `n`.
        """
        found = self.by_columns(inputs) + self.by_totals(log_totals(sums)) + by_operations
        return np.clip(found, -MAX_RESIDUAL, MAX_RESIDUAL)

    def latency_ms(self, features: FloatArray, inventory: Inventory | None = None) -> FloatArray:
        """ms of networks that lie in the domain, `n x all columns` -> `n`.

        Args:
            inventory: operations of the networks; without, single operations are not corrected.
        """
        prior, by_operations = self.prior(features), np.zeros(len(features))
        if inventory is not None:
            by_operations = inventory.shares(self.weights, prior) @ self.op_factor(inventory.points)
        return prior * np.exp(self.residual(features[:, self.columns], totals(features), by_operations))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays for a file; those of a part come under its name."""
        found: dict[str, NDArray[Any]] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Smooth):
                found |= {f"{field.name}.{part.name}": np.asarray(getattr(value, part.name)) for part in fields(value)}
            elif field.name != "block" or value != 1:  # files of before there were blocks have none
                found[field.name] = np.asarray(value)
        return found

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Read what `to_arrays` wrote.

        Raises:
            PredictorError: an array is missing, or of another type or shape.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name in ("by_columns", "by_totals"):
                parts = {part.name: _read(arrays, f"{field.name}.{part.name}") for part in fields(Smooth)}
                values[field.name] = Smooth(**parts)
            elif field.name != "block" or "block" in arrays:
                values[field.name] = _read(arrays, field.name)
        return cls(**values)

    @property
    def fingerprint(self) -> str:
        """Ten hexadecimal digits that name these numbers."""
        digest = hashlib.sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(name.encode() + str(array.shape).encode() + np.asarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()[:10]


def _read(arrays: Mapping[str, NDArray[Any]], name: str) -> Any:
    if name not in arrays:
        raise PredictorError(f"a predictor file lacks {name!r}; calibrate again")
    array, last = arrays[name], name.split(".")[-1]
    scalar = last in ("intercept", "floor", "length", "width", *_WHOLE)
    if array.dtype.kind not in "if" or (scalar and array.ndim):
        raise PredictorError(f"{name!r} in a predictor file is not made of numbers; calibrate again")
    if scalar:
        return int(array) if last in _WHOLE else float(array)
    return array.astype(np.int64 if last == "columns" else np.float64)
