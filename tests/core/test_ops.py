from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.core.ops import BYTES, Op, OpList, Segment

CONV = Op("conv", ((16, 8, 8),), (32, 4, 4), kernel=(3, 3), stride=(2, 2), macs=32 * 16 * 9 * 16, params=32 * 16 * 9)
ADD = Op("elementwise", ((32, 4, 4), (32, 4, 4)), (32, 4, 4))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_bytes_follow_the_precision(precision: str) -> None:
    (op, add) = OpList.of([CONV, ADD]).at(precision)
    size = BYTES[precision]
    assert (op.input_bytes, op.output_bytes, op.weight_bytes) == (16 * 64 * size, 32 * 16 * size, 32 * 16 * 9 * size)
    assert add.input_bytes == 2 * add.output_bytes


def test_a_network_is_the_sum_of_its_segments() -> None:
    block = Segment([CONV, ADD])
    network = OpList([block, block, Segment([])])
    assert len(network) == 4
    assert list(network) == [CONV, ADD, CONV, ADD]
    assert network.macs == 2 * CONV.macs
    assert network.params == 2 * CONV.params
    assert network.peak_activation_bytes == max(16 * 64 + 32 * 16, 2 * 32 * 16) * 4


def test_a_precision_is_made_once() -> None:
    segment = Segment([CONV])
    assert segment.at("int8") is segment.at("int8")
    assert OpList([segment, segment]).at("fp16").segments[0] is segment.at("fp16")


def test_an_empty_network_has_no_work() -> None:
    empty = OpList([])
    assert (len(empty), empty.macs, empty.params, empty.peak_activation_bytes) == (0, 0, 0, 0)


def test_json_holds_derived_bytes() -> None:
    raw = CONV.to_json()
    assert raw["kernel"] == [3, 3]
    assert raw["weight_bytes"] == 4 * CONV.params
    assert raw["input_bytes"] == CONV.input_bytes


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-weights"])
def test_weights_alone_are_kept_in_eight_bits(precision: str) -> None:
    op = replace(CONV, precision=precision)
    assert (op.input_bytes, op.output_bytes, op.weight_bytes) == (4 * 16 * 64, 4 * 32 * 16, 32 * 16 * 9)
