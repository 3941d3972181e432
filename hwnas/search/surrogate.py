"""What the unknown objective of a candidate may be, learned from those that were evaluated."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel
from threadpoolctl import ThreadpoolController

__all__ = ["Surrogate"]

FloatArray = NDArray[np.float64]


class Columns(RBF):  # type: ignore[misc]
    """A kernel of some columns only: those from `start` up to `stop`."""

    def __init__(
        self,
        length_scale: float = 1.0,
        length_scale_bounds: tuple[float, float] = (0.05, 50.0),
        start: int = 0,
        stop: int = 1,
    ) -> None:
        super().__init__(length_scale, length_scale_bounds)
        self.start, self.stop = start, stop

    def __call__(self, X: FloatArray, Y: FloatArray | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Covariances of the rows; see scikit-learn."""
        chosen = slice(self.start, self.stop)
        return super().__call__(X[:, chosen], None if Y is None else Y[:, chosen], eval_gradient)


class Surrogate:
    """A Gaussian process; its kernel is fitted by likelihood, which is slow, now and then only.

    What two blocks of features explain is added: what the likelihood finds of little worth, it makes small. With few
    evaluations the first block decides, and the second refines it as more is known.
    """

    def __init__(self) -> None:
        self._kernel: Kernel | None = None
        self._process: GaussianProcessRegressor | None = None

    def fit_kernel(self, features: FloatArray, values: FloatArray, first: int) -> None:
        """Find length scales, amplitudes and noise.

        Args:
            features: `n x k`, the variances of each block adding to about 1.
            values: `n`.
            first: columns of the first block; the rest is the second.
        """
        n = features.shape[1]
        blocks = [(1.0, 0, first), (0.3, first, n)]
        parts = [ConstantKernel(worth, (1e-3, 1e3)) * Columns(start=a, stop=b) for worth, a, b in blocks if b > a]
        start = sum(parts[1:], parts[0]) + WhiteKernel(0.05, (1e-4, 1.0))
        self._kernel = _fit(GaussianProcessRegressor(start, normalize_y=True, random_state=0), features, values).kernel_

    def condition(self, features: FloatArray, values: FloatArray) -> None:
        """Take what is known, by the kernel that was fitted last."""
        process = GaussianProcessRegressor(self._kernel, optimizer=None, normalize_y=True)
        self._process = _fit(process, features, values)

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of `n` candidates."""
        assert self._process is not None
        with _threads().limit(limits=1, user_api="blas"):
            mean, spread = self._process.predict(features, return_std=True)
        return np.asarray(mean), np.asarray(spread)


@cache
def _threads() -> ThreadpoolController:
    """Of the libraries that are loaded; looking for them takes milliseconds."""
    return ThreadpoolController()


def _fit(process: GaussianProcessRegressor, features: FloatArray, values: FloatArray) -> GaussianProcessRegressor:
    # Small matrices: more threads wait for each other.
    with warnings.catch_warnings(), _threads().limit(limits=1, user_api="blas"):
        warnings.simplefilter("ignore")  # of hyperparameters at their bounds
        return process.fit(features, values)
