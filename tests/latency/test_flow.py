"""Features that need to know which operation reads what."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from hwnas.core.ops import Op, OpList, Segment
from hwnas.latency.features import COLUMNS, features_of, knows_flow, matrix
from hwnas.latency.fit import Origin, fit_predictor

SHAPE = (16, 8, 8)


@dataclass(frozen=True, slots=True)
class Flow(Op):
    """An operation that says what it reads."""

    reads: tuple[int, ...] = ()


def flow(kind: str, *reads: int, live: bool = True, params: int = 0) -> Flow:
    return Flow(kind, (SHAPE,) * len(reads), SHAPE, detail="relu", params=params, live=live, reads=reads)


def columns(ops: list[Op]) -> dict[str, float]:
    total = features_of(Segment(ops), flow=True).total
    return {name: value for name, value in zip(COLUMNS, total.tolist(), strict=True) if value and ".mb" not in name}


def test_the_same_operation_on_the_same_tensor_is_known() -> None:
    ops: list[Op] = [flow("activation", -1), flow("activation", -1), flow("pointwise", 0), flow("pointwise", 1)]
    found = columns(ops)
    # The second activation gives the tensor of the first, so both convolutions read one tensor.
    assert found["activation.first"] == found["activation.again"] == 1
    assert found["pointwise.first"] == found["pointwise.again"] == 1
    assert found["depth"] == 2


def test_without_flow_nothing_is_a_repetition() -> None:
    segment = Segment([flow("pool", -1), flow("pool", -1)])
    assert features_of(segment, flow=False).total[COLUMNS.index("pool.first")] == 2
    assert features_of(segment, flow=True).total[COLUMNS.index("pool.again")] == 1


def test_two_ways_of_being_dead() -> None:
    ops: list[Op] = [
        flow("pool", -2, live=False),  # of a constant, but the sum needs it
        flow("pool", -1, live=False),  # nobody reads it
        flow("elementwise", -1, 0),
    ]
    found = columns(ops)
    assert found["pool.constant"] == found["pool.unused"] == 1
    assert found["reads.outer"] == found["reads.inner"] == 1


def test_tensors_that_are_read_more_than_once() -> None:
    ops: list[Op] = [flow("conv", -1), flow("activation", 0), flow("pool", 0), flow("elementwise", 1, 2)]
    assert columns(ops)["tensors.several"] == columns(ops)["tensors.mixed"] == 1


def test_folding_looks_at_what_is_read_not_at_the_order() -> None:
    ops: list[Op] = [flow("conv", -1), flow("pool", -1), flow("norm", 0), flow("norm", 1), flow("activation", 2)]
    found = columns(ops)
    assert found["norm.first"] == found["fused.first"] == 1


def test_reads_that_point_ahead_are_not_believed() -> None:
    assert "depth" not in columns([flow("pool", 1), flow("pool", -1)])


def test_flow_is_known_only_if_every_operation_says() -> None:
    assert knows_flow(Segment([flow("pool", -1)]))
    assert not knows_flow(Segment([flow("pool", -1), flow("pool")]))


def _networks(*, known: bool) -> list[OpList]:
    """Networks of pools, some of which repeat another."""
    rng = np.random.default_rng(0)
    networks = []
    for _ in range(40):
        ops = [
            flow("pool", int(rng.integers(-1, at)) if rng.random() < 0.5 else -1) for at in range(rng.integers(1, 12))
        ]
        networks.append(OpList.of(ops if known else [replace(op, reads=()) for op in ops]))
    return networks


def test_a_device_that_merges_repetitions_is_learned() -> None:
    networks, origin = _networks(known=True), Origin(device="merging", runtime="none")
    first = matrix(networks, flow=True)[:, COLUMNS.index("pool.first")]
    merged = fit_predictor(networks, 1 + first, origin, rng=np.random.default_rng(0))
    blind = fit_predictor(_networks(known=False), 1 + first, origin, rng=np.random.default_rng(0))
    assert (merged.model.flow, blind.model.flow) == (1, 0)
    assert merged.card.mape is not None
    assert blind.card.mape is not None
    assert merged.card.mape < 0.02 < 0.1 < blind.card.mape
    (answer,) = merged.predict(_networks(known=False)[:1])
    assert not answer.in_domain
    assert answer.reason is not None
    assert "what they read" in answer.reason
    np.testing.assert_allclose(
        [p.latency_ms for p in blind.predict(networks)],
        [p.latency_ms for p in blind.predict(_networks(known=False))],
    )


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_another_precision_keeps_the_flow(precision: str) -> None:
    assert knows_flow(OpList.of([flow("pool", -1)]).at(precision).segments[0])
