"""What the unknown objective of a candidate may be, learned from those that were evaluated."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Kernel, WhiteKernel

__all__ = ["Surrogate"]

FloatArray = NDArray[np.float64]


class Surrogate:
    """A Gaussian process; its kernel is fitted by likelihood, which is slow, now and then only."""

    def __init__(self) -> None:
        self._kernel: Kernel | None = None
        self._process: GaussianProcessRegressor | None = None

    def fit_kernel(self, features: FloatArray, values: FloatArray) -> None:
        """Find length scale, amplitude and noise: `n x k` features, whose variances add to about 1, and `n` values."""
        smooth = ConstantKernel(1.0, (1e-2, 1e3)) * RBF(1.0, (0.05, 50.0))
        start = smooth + WhiteKernel(0.05, (1e-4, 1.0))
        self._kernel = _fit(GaussianProcessRegressor(start, normalize_y=True, random_state=0), features, values).kernel_

    def condition(self, features: FloatArray, values: FloatArray) -> None:
        """Take what is known, by the kernel that was fitted last."""
        process = GaussianProcessRegressor(self._kernel, optimizer=None, normalize_y=True)
        self._process = _fit(process, features, values)

    def predict(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of `n` candidates."""
        assert self._process is not None
        mean, spread = self._process.predict(features, return_std=True)
        return np.asarray(mean), np.asarray(spread)


def _fit(process: GaussianProcessRegressor, features: FloatArray, values: FloatArray) -> GaussianProcessRegressor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hyperparameters at their bounds
        return process.fit(features, values)
