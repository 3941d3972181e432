"""What predictions are worth: errors, rank correlations, intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["COVERAGE", "Scores", "conformal_width", "score"]

FloatArray = NDArray[np.float64]

COVERAGE = 0.9
_UNKNOWN_WIDTH = math.log(2)  # half or twice: nothing was held out to learn it from


@dataclass(frozen=True, slots=True)
class Scores:
    """Of predictions for held-out networks; fractions, and None where a correlation is not defined."""

    mape: float
    spearman: float | None
    kendall: float | None
    within_5: float
    within_10: float
    coverage: float


def conformal_width(errors: FloatArray) -> float:
    """Half width of an interval that holds `COVERAGE` of new errors of the same kind, `n` >= 0.

    Source: Lei et al., JASA 2018: the ceil((n + 1) * coverage)-th smallest of the absolute errors of held-out data.
    For n < 9 there is no such error, and the largest is stretched.
    """
    n = len(errors)
    if n == 0:
        return _UNKNOWN_WIDTH
    rank = math.ceil((n + 1) * COVERAGE)
    width = float(np.sort(np.abs(errors))[min(rank, n) - 1]) * max(1.0, rank / n)
    return min(max(width, 1e-4), math.log(100))


def score(true: FloatArray, predicted: FloatArray, low: FloatArray, high: FloatArray) -> Scores:
    """Compare `n` >= 1 predictions and intervals with the truth, all in ms and > 0."""
    from scipy.stats import kendalltau, spearmanr

    error = np.abs(predicted / true - 1)
    ranked = len(true) > 1 and np.ptp(true) > 0 and np.ptp(predicted) > 0
    return Scores(
        mape=float(error.mean()),
        spearman=float(spearmanr(true, predicted).statistic) if ranked else None,
        kendall=float(kendalltau(true, predicted).statistic) if ranked else None,
        within_5=float((error <= 0.05).mean()),
        within_10=float((error <= 0.10).mean()),
        coverage=float(((low <= true) & (true <= high)).mean()),
    )
