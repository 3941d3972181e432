"""Attention that has fewer heads than its width would give: what is left of `nn.MultiheadAttention`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FewerHeads", "SelfAttention", "part_of", "rows_of"]


class FewerHeads(nn.Module):
    """Some heads of an attention, called like `nn.MultiheadAttention`: plain linear layers and matrix products.

    Args:
        layers: that make queries, keys, values and the answer; `heads * size` features lie between them.
        left: which heads they are, ascending, of `whole`.
        whole: how many there were; masks may come with one for each.
        dropout: of the weights of attention, in training.
        batch_first: as for `nn.MultiheadAttention`.
    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017; Michel et al., Are Sixteen Heads Really Better than
        One?, NeurIPS 2019.
    """

    # torch's encoder layers look at these of `self_attn`, and call it only where their fused path cannot be taken.
    in_proj_weight: Tensor | None = None
    in_proj_bias: Tensor | None = None
    _qkv_same_embed_dim = False

    def __init__(
        self,
        layers: tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear],
        *,
        left: Sequence[int],
        whole: int,
        dropout: float = 0.0,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = layers
        self.left, self.whole, self.dropout, self.batch_first = tuple(left), whole, dropout, batch_first
        self.num_heads, self.embed_dim = len(self.left), self.out_proj.out_features

    @classmethod
    def of(cls, attention: nn.MultiheadAttention, left: Sequence[int]) -> FewerHeads:
        """The heads `left` of an attention that has neither `bias_k` nor `add_zero_attn`."""
        rows = rows_of(left, attention.embed_dim // attention.num_heads)
        joined, biases = attention.in_proj_weight, attention.in_proj_bias
        weights = (
            joined.chunk(3)
            if joined is not None
            else (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
        )
        halves = zip(weights, (None,) * 3 if biases is None else biases.chunk(3), strict=True)
        q, k, v = (_linear(weight[rows], None if bias is None else bias[rows]) for weight, bias in halves)
        out = _linear(attention.out_proj.weight[:, rows], attention.out_proj.bias)
        return cls(
            (q, k, v, out),
            left=left, whole=attention.num_heads, dropout=attention.dropout, batch_first=attention.batch_first,
        ).train(attention.training)  # fmt: skip

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See `nn.MultiheadAttention`; the weights are those of the heads that are left.

        `is_causal` only hints at what the mask is, and is not read.
        """
        alone = query.dim() == 2
        if alone:
            query, key, value = (given.unsqueeze(0) for given in (query, key, value))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (given.transpose(0, 1) for given in (query, key, value))
        queries, keys, values = self._split(self.q_proj(query)), self._split(self.k_proj(key)), self.v_proj(value)
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(2, 3)
        if attn_mask is not None:
            scores = scores + self._of_left(_added(attn_mask, scores.dtype))
        if key_padding_mask is not None:
            scores = scores + _added(key_padding_mask, scores.dtype)[:, None, None, :]
        weights = functional.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        answer: Tensor = self.out_proj((weights @ self._split(values)).transpose(1, 2).flatten(2))
        if alone:
            answer, weights = answer[0], weights[0]
        elif not self.batch_first:
            answer = answer.transpose(0, 1)
        if not need_weights:
            return answer, None
        return answer, weights.mean(-3) if average_attn_weights else weights

    def _split(self, features: Tensor) -> Tensor:
        """`n x tokens x heads * size` -> `n x heads x tokens x size`."""
        tokens, width = int(features.shape[1]), int(features.shape[2])  # plain numbers for the exporter
        return features.reshape(-1, tokens, self.num_heads, width // self.num_heads).transpose(1, 2)

    def _of_left(self, mask: Tensor) -> Tensor:
        """A mask `tokens x tokens`, or one for each sample and head there was, for the heads that are left."""
        if mask.dim() == 2:
            return mask
        return mask.reshape(-1, self.whole, *mask.shape[1:])[:, list(self.left)]


class SelfAttention(FewerHeads):
    """The same, called with one tensor `n x tokens x width`, as attention that people write themselves."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Attention of every token to every token, `n x tokens x width`."""
        return super().forward(x, x, x, need_weights=False)[0]


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as what is added to scores; where a boolean one is true, nothing is looked at."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)


def rows_of(heads: Sequence[int], size: int) -> list[int]:
    """Places of these heads' features, where those of a head lie side by side."""
    return [head * size + place for head in heads for place in range(size)]


def part_of(layer: nn.Linear, rows: Sequence[int] | None = None, columns: Sequence[int] | None = None) -> nn.Linear:
    """A linear layer of some of a layer's outputs and inputs; None: all."""
    weight: Tensor = layer.weight
    bias: Tensor | None = layer.bias
    if columns is not None:
        weight = weight[:, list(columns)]
    if rows is not None:
        weight, bias = weight[list(rows)], None if bias is None else bias[list(rows)]
    return _linear(weight, bias).train(layer.training)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return layer
