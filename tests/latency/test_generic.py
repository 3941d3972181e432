from __future__ import annotations

import numpy as np
from made_up import random_networks

from hwnas.latency.features import features_matrix
from hwnas.latency.generic import generic_ms, simple_ms


def test_simple_devices_count_what_they_say() -> None:
    networks = random_networks(20, seed=0)
    found = simple_ms(features_matrix(networks)[0])
    assert found.shape == (20, 5)
    assert (found > 0).all()
    operations = [len(network) for network in networks]
    np.testing.assert_allclose(found[:, 0], operations)
    np.testing.assert_allclose(found[:, 1], operations)
    np.testing.assert_allclose(found[:, 2], [network.macs / 1e6 for network in networks])
    bytes_ = [sum(op.input_bytes + op.output_bytes for op in network) for network in networks]
    np.testing.assert_allclose(found[:, 3], np.array(bytes_) / 1e6)


def test_more_work_takes_a_generic_device_longer() -> None:
    small, large = random_networks(2, seed=0)
    together = type(small)([*small.segments, *large.segments])
    one, both = generic_ms(features_matrix([small, together])[0])
    assert 0 < one < both
