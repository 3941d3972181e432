from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from made_up import random_networks, true_ms

from hwnas.core.ops import OpList
from hwnas.latency.fit import Origin


@pytest.fixture(scope="session")
def networks() -> list[OpList]:
    return random_networks(120, seed=0)


@pytest.fixture(scope="session")
def time_on_device() -> Callable[[Sequence[OpList]], list[float]]:
    return lambda networks: [true_ms(network) for network in networks]


@pytest.fixture
def origin() -> Origin:
    return Origin(device="made-up", runtime="none", spaces=("random",), input_shapes=((3, 32, 32),))
