"""The numbers of a predictor: a non-negative linear prior and a Gaussian process on what it leaves over."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import PredictorError

__all__ = ["Model", "kernel"]

FloatArray = NDArray[np.float64]

MAX_SUPPORT = 600
# A residual beyond a factor of e is not believed, whatever the weights in a file say.
MAX_RESIDUAL = 1.0


def kernel(left: FloatArray, right: FloatArray, length: float) -> FloatArray:
    """Squared-exponential kernel of unit variance, `n x d` and `m x d` -> `n x m`."""
    square = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    found: FloatArray = np.exp(np.maximum(square, 0) / (-2 * length * length))
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Everything that is needed to turn features into milliseconds.

    Attributes:
        weights: ms per unit of each feature column, >= 0.
        intercept: ms of a network without operations, >= 0.
        floor: no prediction is below it, ms, > 0.
        columns: which feature columns the residual reads, `d` indices.
        center, scale: per residual column, `d`; inputs are (x - center) / scale.
        support, alpha: points (`m x d`, standardised) and weights (`m`) of the residual; m = 0: no residual.
        length: length scale of the residual's kernel.
        width: half of the 90 % interval, on log latency.
        flow: 1 if the features were computed with data flow, else 0.
    Raises:
        PredictorError: shapes do not fit, a number is not finite or has the wrong sign.
    """

    weights: FloatArray
    intercept: float
    floor: float
    columns: NDArray[np.int64]
    center: FloatArray
    scale: FloatArray
    support: FloatArray
    alpha: FloatArray
    length: float
    width: float
    flow: int

    def __post_init__(self) -> None:
        d, m = len(self.columns), len(self.alpha)
        shapes = (self.weights.ndim, self.center.shape, self.scale.shape, self.support.shape, self.alpha.ndim)
        if shapes != (1, (d,), (d,), (m, d), 1) or m > MAX_SUPPORT:
            raise PredictorError(f"a predictor's arrays do not fit together: {shapes}; calibrate again")
        if not all(np.isfinite(getattr(self, field.name)).all() for field in fields(self)):
            raise PredictorError("a predictor holds numbers that are not finite; calibrate again")
        signs = (self.weights >= 0).all() and self.intercept >= 0 and (self.scale > 0).all()
        if (
            not signs
            or self.floor <= 0
            or self.length <= 0
            or not 0 < self.width < math.log(1e3)
            or self.flow not in (0, 1)
        ):
            raise PredictorError("a predictor holds a number of the wrong sign; calibrate again")
        if d and not (self.columns.min() >= 0 and self.columns.max() < len(self.weights)):
            raise PredictorError("a predictor reads columns that its schema does not have; calibrate again")

    def prior(self, features: FloatArray) -> FloatArray:
        """ms of the linear part, `n x all columns` -> `n`; > 0 and never lower with more work."""
        return np.maximum(features @ self.weights + self.intercept, self.floor)

    def residual(self, inputs: FloatArray) -> FloatArray:
        """Log factor on the prior, `n x d` (the residual's columns) -> `n`; 0 far from the support."""
        if not len(self.alpha):
            return np.zeros(len(inputs))
        found = kernel((inputs - self.center) / self.scale, self.support, self.length) @ self.alpha
        return np.clip(found, -MAX_RESIDUAL, MAX_RESIDUAL)

    def latency_ms(self, features: FloatArray) -> FloatArray:
        """ms of networks that lie in the domain, `n x all columns` -> `n`."""
        return self.prior(features) * np.exp(self.residual(features[:, self.columns]))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays for a file."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Model:
        """Read what `to_arrays` wrote.

        Raises:
            PredictorError: an array is missing, or of another type or shape.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name not in arrays:
                raise PredictorError(f"a predictor file lacks {field.name!r}; calibrate again")
            array = arrays[field.name]
            scalar = field.name in ("intercept", "floor", "length", "width", "flow")
            if array.dtype.kind not in "if" or (scalar and array.ndim):
                raise PredictorError(f"{field.name!r} in a predictor file is not made of numbers; calibrate again")
            kind = np.int64 if field.name == "columns" else np.float64
            number = int if field.name == "flow" else float
            values[field.name] = number(array) if scalar else array.astype(kind)
        return cls(**values)

    @property
    def fingerprint(self) -> str:
        """Ten hexadecimal digits that name these numbers."""
        digest = hashlib.sha256()
        for name, array in sorted(self.to_arrays().items()):
            digest.update(name.encode() + str(array.shape).encode() + np.asarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()[:10]
