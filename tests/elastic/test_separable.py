from __future__ import annotations

import pytest

from hwnas.elastic.separable import SeparableSpec
from hwnas.trace import trace_block


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(16, 20, 33), (24, 7, 8)], ids=str)
def test_the_closed_form_is_what_a_trace_finds(shape: tuple[int, ...], stride: int) -> None:
    spec = SeparableSpec(shape[0], 40, 5, stride)
    (segment,), output = spec.segments(shape)
    ops, traced = trace_block(spec.build(), shape)
    assert (segment.ops, output) == (ops, traced)


def test_macs() -> None:
    (segment,), _ = SeparableSpec(16, 24, 3, 2).segments((16, 20, 33))
    assert sum(op.macs for op in segment.ops) == 10 * 17 * (16 * 9 + 16 * 24)
