from __future__ import annotations

import numpy as np
import pytest
from made_up import conv, random_networks

from hwnas.core.ops import Op, OpList, Segment
from hwnas.latency.features import CLASSES, matrix
from hwnas.latency.inventory import inventory_of, op_kernel, point_of


def test_operations_and_what_they_add_are_the_features() -> None:
    networks = random_networks(20, seed=3)
    found = inventory_of(networks, flow=False)
    features = matrix(networks, flow=False)
    np.testing.assert_allclose((found.counts @ found.costs).toarray(), features)
    some = np.array([4, 2])
    np.testing.assert_allclose((found.rows(some).counts @ found.costs).toarray(), features[some])


def test_shares_of_the_prior_add_up_to_it() -> None:
    networks = random_networks(20, seed=3)
    found, features = inventory_of(networks, flow=False), matrix(networks, flow=False)
    weights = np.random.default_rng(0).random(features.shape[1])
    shares = found.shares(weights, features @ weights)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares.toarray() >= 0).all()


def test_what_occurs_twice_is_counted_twice_and_listed_once() -> None:
    one = Segment([conv(32, 16)])
    found = inventory_of([OpList([one, one]), OpList([Segment([conv(32, 16)])]), OpList([])], flow=False)
    np.testing.assert_array_equal(found.counts.toarray(), [[2.0], [1.0], [0.0]])


def test_a_point_is_the_class_and_octaves() -> None:
    op = Op("pointwise", ((16, 8, 8),), (64, 8, 8))
    assert point_of(op, CLASSES.index("pointwise")) == (CLASSES.index("pointwise"), 4.0, 6.0, 6.0, 6.0)
    assert point_of(Op("linear", ((64,),), (10,)), 7)[1:] == (6.0, pytest.approx(np.log2(10)), 0.0, 0.0)
    assert point_of(Op("other", (), ()), 20)[1:] == (0.0, 0.0, 0.0, 0.0)


def test_the_kernel_knows_classes_and_distance() -> None:
    points = np.array([[0.0, 4, 4, 6, 6], [0.0, 5, 4, 6, 6], [0.0, 9, 9, 0, 0], [1.0, 4, 4, 6, 6]])
    found = op_kernel(points, points)
    np.testing.assert_allclose(np.diag(found), 1.0)
    assert found[0, 1] == pytest.approx(0.25 * np.exp(-1 / 8) + 0.75 * np.exp(-1 / 32))
    assert found[0, 1] > 0.9 > 0.1 > found[0, 2]
    assert found[0, 3] == 0
    assert np.linalg.eigvalsh(found).min() > -1e-12
