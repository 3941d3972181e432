from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hwnas.core.space import SearchSpace
from hwnas.search.budget import Budget
from hwnas.search.describe import Describer
from hwnas.search.joint import JointSpace


def test_candidates_are_described_by_latency_and_work(
    make_joint: Callable[..., JointSpace], make_space: Callable[..., SearchSpace], make_budget: Callable[..., Budget]
) -> None:
    joint = make_joint(make_space((4, 8), (1, 3)), ("fp32",))
    budget = make_budget(joint)
    (describe,) = Describer(budget).by_device().values()
    several: list[dict[str, Any]] = [{"width": w, "kernel": k, "precision": "fp32"} for w in (4, 8) for k in (1, 3)]
    found = describe(several)
    for params, described in zip(several, found, strict=True):
        assert described is not None
        assert described[0] == budget.scorer.predict(joint.candidate(params)).latency_ms
        assert np.isfinite(described[1]).all()
    keys = {np.asarray(described[1]).tobytes() for described in found if described}
    assert len(keys) == 4
    asked = budget.scorer.predictors["fp32"].asked  # type: ignore[attr-defined]
    assert describe(several[::-1]) == found[::-1]
    assert budget.scorer.predictors["fp32"].asked == asked  # type: ignore[attr-defined]


def test_what_is_over_a_budget_is_not_allowed(
    make_joint: Callable[..., JointSpace], make_space: Callable[..., SearchSpace], make_budget: Callable[..., Budget]
) -> None:
    joint = make_joint(make_space((4, 64), (3,)), ("fp32",))
    budget = make_budget(joint)
    narrow, wide = ({"width": width, "kernel": 3, "precision": "fp32"} for width in (4, 64))
    budget.max_latency_ms = budget.scorer.predict(joint.candidate(narrow)).latency_ms
    (describe,) = Describer(budget).by_device().values()
    found = describe([narrow, wide])
    assert found[0] is not None
    assert found[1] is None
