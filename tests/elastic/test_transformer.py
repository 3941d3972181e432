from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hwnas.core.tokens import PAD
from hwnas.elastic.transformer import HIDDEN, Attention, EncoderLayerSpec, TokenClassifierSpec, TokenMean
from hwnas.trace import trace_module


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_that_of_torch(heads: int) -> None:
    torch.manual_seed(heads)
    joined, keep = torch.randn(3, 9, 3 * 16 * heads), torch.arange(9)[None] < torch.tensor([[9], [5], [1]])
    parts = [part.unflatten(2, (heads, 16)).transpose(1, 2) for part in joined.chunk(3, dim=2)]
    wanted = F.scaled_dot_product_attention(*parts, attn_mask=keep[:, None, None, :]).transpose(1, 2).flatten(2)
    torch.testing.assert_close(Attention(heads)(joined, (~keep).float() * HIDDEN), wanted)


def test_the_mean_leaves_padding_out() -> None:
    x, ids = torch.randn(2, 4, 8), torch.tensor([[5, 6, PAD, PAD], [7, 8, 9, 2]])
    found = TokenMean()(x, (ids == PAD).float() * HIDDEN)
    torch.testing.assert_close(found, torch.stack([x[0, :2].mean(0), x[1].mean(0)]))
    assert torch.isfinite(TokenMean()(x, torch.full((2, 4), HIDDEN))).all()  # nothing but padding


@pytest.mark.parametrize(("width", "heads", "hidden", "tokens"), [(32, 1, 64, 8), (48, 4, 96, 40)])
def test_macs_of_a_layer(width: int, heads: int, hidden: int, tokens: int) -> None:
    inner = 16 * heads
    (segment,), output = EncoderLayerSpec(width, heads, 16, hidden).segments((tokens, width))
    assert output == (tokens, width)
    products = [op for op in segment.ops if op.kind == "matmul"]
    assert [op.macs for op in products] == [tokens * tokens * inner] * 2
    linear = tokens * (width * 3 * inner + inner * width + 2 * width * hidden)
    assert sum(op.macs for op in segment.ops) == linear + 2 * tokens * tokens * inner
    assert sum(op.params for op in segment.ops) == (
        4 * width + 3 * inner * (width + 1) + width * (inner + 1) + hidden * (width + 1) + width * (hidden + 1)
    )
    assert {op.kind for op in segment.ops if op.fixed} >= {"matmul", "softmax"}
    assert not any(op.fixed for op in segment.ops if op.kind == "linear")


def test_macs_of_the_classifier() -> None:
    (segment,), output = TokenClassifierSpec(48, 5).segments((40, 48))
    assert output == (5,)
    assert sum(op.macs for op in segment.ops) == 40 * 48 + 48 * 5


def test_a_trace_takes_ids() -> None:
    network = trace_module(torch.nn.Sequential(torch.nn.Embedding(50, 8), torch.nn.Flatten()), (6,), dtype="int64")
    (op,) = network
    assert (op.kind, op.inputs, op.output, op.params) == ("embedding", ((6,),), (6, 8), 400)
