from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hwnas.compress.attention import FewerHeads, SelfAttention, part_of

N, TOKENS, OTHERS = 3, 5, 7


def attention(**given: Any) -> nn.MultiheadAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.MultiheadAttention(24, 4, **given)
        for name, parameter in made.named_parameters():
            if "bias" in name:
                nn.init.normal_(parameter)
    return made.eval().requires_grad_(False)


def deaf(whole: nn.MultiheadAttention, left: list[int]) -> nn.MultiheadAttention:
    """The closed form: nobody listens to the heads that go."""
    twin = copy.deepcopy(whole)
    for head in {*range(4)} - {*left}:
        twin.out_proj.weight[:, 6 * head : 6 * head + 6] = 0.0
    return twin


def given(whole: nn.MultiheadAttention, *, alone: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    lengths = ((TOKENS, 24), (OTHERS, whole.kdim), (OTHERS, whole.vdim))
    if alone:
        return tuple(torch.randn(*each, generator=generator) for each in lengths)  # type: ignore[return-value]
    made = [torch.randn(N, *each, generator=generator) for each in lengths]
    return tuple(each if whole.batch_first else each.transpose(0, 1) for each in made)  # type: ignore[return-value]


@pytest.mark.parametrize("left", [[0, 1, 2, 3], [0, 3], [2]])
@pytest.mark.parametrize(
    "how",
    [{}, {"batch_first": True}, {"bias": False}, {"kdim": 10, "vdim": 14, "batch_first": True}, {"dropout": 0.5}],
    ids=str,
)
def test_it_answers_like_the_whole_without_a_listener(how: dict[str, Any], left: list[int]) -> None:
    whole = attention(**how)
    fewer, inputs = FewerHeads.of(whole, left), given(whole)
    assert fewer.num_heads == len(left)
    torch.testing.assert_close(fewer(*inputs)[0], deaf(whole, left)(*inputs)[0])
    assert sum(p.numel() for p in fewer.parameters()) - sum(p.numel() for p in fewer.out_proj.parameters()) == (
        len(left) * 6 * (24 + whole.kdim + whole.vdim + (0 if how.get("bias") is False else 3))
    )
    alone = given(whole, alone=True)
    torch.testing.assert_close(fewer(*alone)[0], deaf(whole, left)(*alone)[0])


HIDDEN = torch.arange(OTHERS) > torch.tensor([[6], [4], [2]])
UPPER = torch.ones(TOKENS, OTHERS, dtype=torch.bool).triu(1)
EACH = torch.arange(N * 4 * TOKENS * OTHERS).float().sin().view(N * 4, TOKENS, OTHERS)


@pytest.mark.parametrize("left", [[0, 1, 2, 3], [1, 3]])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(
    "masks",
    [
        {"key_padding_mask": HIDDEN},
        {"key_padding_mask": HIDDEN.float() * -3},
        {"attn_mask": UPPER},
        {"attn_mask": EACH},
        {"attn_mask": EACH > 0.5},
        {"attn_mask": EACH, "key_padding_mask": HIDDEN.float() * -3},
        {"attn_mask": UPPER.float().masked_fill(UPPER, -torch.inf), "is_causal": True, "need_weights": False},
    ],
    ids=["padding", "float padding", "causal", "each head", "bool of each head", "both", "hint"],
)
def test_masks(masks: dict[str, Any], batch_first: bool, left: list[int]) -> None:
    whole = attention(batch_first=batch_first)
    inputs = given(whole)
    torch.testing.assert_close(FewerHeads.of(whole, left)(*inputs, **masks)[0], deaf(whole, left)(*inputs, **masks)[0])


def test_weights_are_those_of_the_heads_that_are_left() -> None:
    whole = attention(batch_first=True)
    inputs, fewer = given(whole), FewerHeads.of(whole, [1, 3])
    _, each = whole(*inputs, average_attn_weights=False)
    torch.testing.assert_close(fewer(*inputs, average_attn_weights=False)[1], each[:, [1, 3]])
    torch.testing.assert_close(fewer(*inputs)[1], each[:, [1, 3]].mean(1))
    assert fewer(*inputs, need_weights=False)[1] is None
    _, alone = fewer(*given(whole, alone=True))
    assert alone.shape == (TOKENS, OTHERS)


def test_it_drops_weights_in_training_alone() -> None:
    whole = attention(dropout=0.5)
    fewer, inputs = FewerHeads.of(whole, [0, 1]), given(whole)
    assert torch.equal(fewer(*inputs)[0], fewer(*inputs)[0])
    fewer.train()
    assert not torch.equal(fewer(*inputs)[0], fewer(*inputs)[0])


@pytest.mark.parametrize("norm_first", [False, True])
def test_torch_s_encoder_layer_calls_it(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(24, 4, 32, batch_first=True, norm_first=norm_first).eval().requires_grad_(False)
    twin, x = copy.deepcopy(layer), torch.randn(N, TOKENS, 24)
    twin.self_attn = deaf(layer.self_attn, [0, 2])
    layer.self_attn = FewerHeads.of(layer.self_attn, [0, 2])
    torch.testing.assert_close(layer(x), twin(x))
    hidden = HIDDEN[:, :TOKENS]
    torch.testing.assert_close(
        layer(x, src_key_padding_mask=hidden)[~hidden], twin(x, src_key_padding_mask=hidden)[~hidden]
    )


def test_torch_s_decoder_layer_calls_it() -> None:
    layer = nn.TransformerDecoderLayer(24, 4, 32).eval().requires_grad_(False)
    twin, x, memory = copy.deepcopy(layer), torch.randn(TOKENS, N, 24), torch.randn(OTHERS, N, 24)
    for name in ("self_attn", "multihead_attn"):
        setattr(twin, name, deaf(getattr(layer, name), [3]))
        setattr(layer, name, FewerHeads.of(getattr(layer, name), [3]))
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    torch.testing.assert_close(
        layer(x, memory, tgt_mask=mask, tgt_is_causal=True), twin(x, memory, tgt_mask=mask, tgt_is_causal=True)
    )


def test_called_with_one_tensor() -> None:
    whole = attention(batch_first=True)
    fewer = FewerHeads.of(whole, [0, 2])
    alone = SelfAttention((fewer.q_proj, fewer.k_proj, fewer.v_proj, fewer.out_proj), left=[0, 2], whole=4)
    x = given(whole)[0]
    torch.testing.assert_close(alone(x), deaf(whole, [0, 2])(x, x, x)[0])


@pytest.mark.parametrize("bias", [True, False])
def test_a_part_of_a_layer(bias: bool) -> None:
    layer, x = nn.Linear(6, 4, bias=bias).requires_grad_(False), torch.randn(2, 6)
    torch.testing.assert_close(part_of(layer, rows=[3, 1])(x), layer(x)[:, [3, 1]])
    x[:, [0, 2, 3]] = 0.0
    part = part_of(layer, columns=[1, 4, 5])
    torch.testing.assert_close(part(x[:, [1, 4, 5]]), layer(x))
    assert (part.in_features, part.out_features, part.weight.requires_grad) == (3, 4, False)
