from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import conv, true_ms
from torch import nn

from hwnas.core.ops import Op, OpList, Segment
from hwnas.latency.channels import BLOCKS, in_blocks, telling_blocks
from hwnas.latency.fit import Origin, fit_predictor
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.trace import trace_module


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("given", "made", "groups"), [(24, 40, 1), (33, 33, 33), (3, 20, 1), (64, 96, 1), (57, 64, 1)])
def test_channels_are_rounded_up_as_if_the_network_had_so_many(block: int, given: int, made: int, groups: int) -> None:
    def up(channels: int) -> int:
        return channels if channels < block else -(-channels // block) * block

    def traced(given: int, made: int, groups: int) -> Op:
        layer = nn.Conv2d(given, made, 3, padding=1, groups=groups, bias=False)
        return next(op for op in trace_module(layer, (given, 6, 6)) if op.macs)

    rounded = in_blocks(OpList.of([traced(given, made, groups)]), block)[0]
    assert rounded == traced(up(given), up(made), up(given) if groups > 1 else 1)


def test_what_is_no_convolution_stays() -> None:
    network = trace_module(nn.Sequential(nn.Flatten(), nn.Linear(33, 7), nn.ReLU()), (33, 1, 1))
    assert telling_blocks([network]) == []
    assert in_blocks(network, 16).segments == network.segments


def test_only_blocks_that_round_something_tell() -> None:
    assert telling_blocks([OpList.of([conv(24, 8)])]) == [16]
    assert telling_blocks([OpList.of([conv(40, 8)])]) == [16, 32]
    assert telling_blocks([OpList.of([conv(64, 8)])]) == []
    assert telling_blocks([OpList.of([conv(33, 8)])]) == list(BLOCKS)
    assert in_blocks(OpList.of([conv(24, 8)]), 1)[0] == conv(24, 8)


def drawn(count: int, seed: int) -> list[OpList]:
    """Networks of convolutions whose channels are multiples of 8."""
    rng = np.random.default_rng(seed)

    def one() -> Segment:
        return Segment([conv(8 * int(rng.integers(2, 13)), int(rng.choice([8, 16])))])

    return [OpList([one() for _ in range(rng.integers(3, 9))]) for _ in range(count)]


def timed(networks: Sequence[OpList], block: int) -> list[float]:
    return [true_ms(in_blocks(network, block)) for network in networks]


@pytest.mark.parametrize("block", [1, 16])
def test_a_device_that_takes_channels_by_the_vector_is_recognised(block: int, origin: Origin, tmp_path: Path) -> None:
    networks, others = drawn(60, seed=0), drawn(40, seed=1)
    predictor = fit_predictor(networks, timed(networks, block), origin, rng=np.random.default_rng(0))
    assert predictor.model.block == block
    error = np.array([p.latency_ms for p in predictor.predict(others)]) / timed(others, block) - 1
    assert np.abs(error).max() < 0.03
    predictor.save(tmp_path)
    loaded = LinearGpPredictor.load(tmp_path)
    assert loaded.model.block == block
    assert loaded.predict(others) == predictor.predict(others)
    # The breakdown speaks of the network as it is.
    found = loaded.breakdown(others[0])
    assert [op for op, _ in found.ops] == list(others[0])
    assert sum(ms for _, ms in found.ops) + found.network_ms == pytest.approx(found.total_ms)


def test_few_measurements_cannot_tell(origin: Origin) -> None:
    networks = drawn(25, seed=0)
    predictor = fit_predictor(networks, timed(networks, 16), origin, rng=np.random.default_rng(0))
    assert predictor.model.block == 1


def test_24_channels_cost_as_much_as_32(origin: Origin) -> None:
    networks = drawn(60, seed=0)
    predictor = fit_predictor(networks, timed(networks, 16), origin, rng=np.random.default_rng(0))
    twice = [OpList.of([conv(channels, 16)] * 4) for channels in (24, 32)]
    narrow, wide = predictor.predict(twice)
    assert replace(narrow, predictor="") == replace(wide, predictor="")
