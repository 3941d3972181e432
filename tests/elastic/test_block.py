from __future__ import annotations

import torch

from hwnas.elastic.block import first, most_important, spec_segments
from hwnas.elastic.blocks import ConvSpec
from hwnas.trace import trace_block


def test_the_most_important_come_in_their_order() -> None:
    assert most_important(torch.tensor([0.5, 3.0, 0.1, 2.0, 1.0]), 3).tolist() == [1, 3, 4]
    assert most_important(torch.tensor([0.5, 3.0]), 2).tolist() == [0, 1]


def test_first() -> None:
    assert first(3).tolist() == [0, 1, 2]
    given = torch.tensor([2, 5])
    assert first(given) is given


def test_equal_specs_share_their_segments() -> None:
    one, two = (spec_segments(ConvSpec(3, 8, 3, 2, "relu"), (3, 9, 9)) for _ in range(2))
    assert one[0][0] is two[0][0]
    ops, out = trace_block(ConvSpec(3, 8, 3, 2, "relu").build(), (3, 9, 9))
    assert (one[0][0].ops, one[1]) == (ops, out)
    assert spec_segments(ConvSpec(3, 8, 3, 2, "relu"), (3, 8, 8))[0][0] is not one[0][0]
