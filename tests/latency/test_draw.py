from __future__ import annotations

from collections import Counter

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.task import TaskShape
from hwnas.latency.draw import draw_candidates
from hwnas.plugins import load_plugin
from hwnas.trace import operations

TASK = TaskShape((1, 16, 16), 10)
SPACE = load_plugin("space", "mobilenet").for_task(TASK)


def draw(count: int, precisions: tuple[str, ...] = ("fp32",)) -> list[Candidate]:
    return draw_candidates(SPACE, precisions, count, rng=np.random.default_rng(0))


def test_candidates_span_the_space() -> None:
    drawn = draw(40, ("fp32", "int8"))
    assert Counter(c.compression.precision for c in drawn) == {"fp32": 40, "int8": 40}
    assert {drawn[0].architecture, drawn[1].architecture} == {SPACE.smallest()}
    assert drawn[2].architecture == SPACE.largest()
    ratios = {ratio for c in drawn for _, ratio in c.compression.prune}
    assert ratios == {0.25, 0.5}
    assert len(set(drawn)) > 75


def test_the_fast_end_is_drawn() -> None:
    """Fronts lie there; a plain draw has one network in twenty below its own 5th percentile."""
    rng = np.random.default_rng(1)
    plain = [operations(SPACE, Candidate(SPACE.sample(rng)), TASK).macs for _ in range(300)]
    drawn = np.array([operations(SPACE, Candidate(c.architecture), TASK).macs for c in draw(100)])
    assert (drawn < np.quantile(plain, 0.05)).mean() > 0.15
    assert (drawn > np.median(plain)).mean() > 0.2  # and the rest is there, too
