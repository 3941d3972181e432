from __future__ import annotations

import numpy as np
import pytest
from made_up import add, conv, random_networks

from hwnas.core.ops import KINDS, Op, OpList, Segment
from hwnas.latency.features import CLASSES, COLUMNS, class_of, features_of, matrix

SHAPE = (16, 8, 8)
NORM = Op("norm", (SHAPE,), SHAPE, params=32, detail="native_batch_norm")
RELU = Op("activation", (SHAPE,), SHAPE, detail="relu")


def column(network: OpList, name: str) -> float:
    return float(matrix([network], flow=False)[0, COLUMNS.index(name)])


def test_sums_over_operations() -> None:
    ops = [conv(16, 8), conv(16, 8, 1), conv(16, 8, 7, depthwise=True), add(16, 8)]
    network = OpList.of(ops)
    assert column(network, "conv3.first") == 1
    assert column(network, "conv3.mmacs") == pytest.approx(ops[0].macs / 1e6)
    assert column(network, "pointwise.mb") == pytest.approx((ops[1].input_bytes + ops[1].output_bytes) / 1e6)
    assert column(network, "depthwise7.weight_mb") == pytest.approx(ops[2].weight_bytes / 1e6)
    assert column(network, "elementwise.mmacs") == 0


def test_segments_add_up_to_one_network() -> None:
    for network in random_networks(5, seed=3):
        whole = matrix([OpList.of(list(network))], flow=False)
        np.testing.assert_allclose(matrix([network], flow=False), whole)


def test_features_are_kept_in_the_segment() -> None:
    segment = Segment([conv(16, 8)])
    assert features_of(segment, flow=False) is features_of(segment, flow=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_class(kind: str) -> None:
    for kernel in (1, 3, 5, 7, 11):
        assert CLASSES[class_of(kind, kernel)].rstrip("357") == kind


def test_a_norm_after_a_convolution_is_folded_and_one_alone_is_not() -> None:
    folded, alone = OpList.of([conv(16, 8), NORM]), OpList.of([RELU, NORM])
    np.testing.assert_array_equal(matrix([folded], flow=False), matrix([OpList.of([conv(16, 8)])], flow=False))
    assert column(alone, "norm.first") == 1


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([conv(16, 8), RELU], "fused"),
        ([conv(16, 8), NORM, RELU], "fused"),
        ([add(16, 8), RELU], "activation"),
        ([RELU], "activation"),
    ],
)
def test_a_relu_after_a_convolution_is_fused(ops: list[Op], expected: str) -> None:
    assert column(OpList.of(ops), f"{expected}.first") == 1


def test_dead_operations_are_counted_apart() -> None:
    dead = Op("pool", (SHAPE,), SHAPE, kernel=(3, 3), live=False)
    network = OpList.of([dead])
    assert column(network, "pool.unused") == 1
    assert column(network, "pool.first") == column(network, "pool.mb") == 0


def test_more_operations_lower_no_feature() -> None:
    for network in random_networks(5, seed=4):
        less = matrix([OpList(network.segments[:-1])], flow=False)
        assert (matrix([network], flow=False) >= less - 1e-12).all()


def test_no_networks_give_no_rows() -> None:
    assert matrix([], flow=True).shape == (0, len(COLUMNS))
