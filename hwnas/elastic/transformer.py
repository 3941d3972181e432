"""Elastic blocks of a small Transformer encoder over ids: embedding, encoder layers, classifier.

Between the blocks goes a pair: features `n x tokens x width`, and a mask `n x tokens` that is 0 for a token and a large
negative number for padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.compression import kept_channels
from hwnas.core.ops import Segment
from hwnas.core.space import Choice
from hwnas.core.tokens import PAD
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first, most_important
from hwnas.elastic.layers import ElasticLayerNorm, ElasticLinear
from hwnas.trace import trace_block

__all__ = [
    *("Attention", "ElasticEmbedding", "ElasticEncoderLayer", "ElasticTokenClassifier"),
    *("EmbeddingSpec", "EncoderLayer", "EncoderLayerSpec", "TokenClassifier", "TokenClassifierSpec", "TokenEmbedding"),
    "TokenMean",
]

HIDDEN = -1e4  # what the mask is for padding: its share after a softmax is 0, and fp16 holds it
STD = 0.02  # of fresh embeddings and projections, as in BERT

Pair = tuple[Tensor, Tensor]
Traced = tuple[tuple[Segment, ...], tuple[int, ...]]


class _FirstOfPair(nn.Module):
    """A block that gives a pair, or takes one, as a block of one tensor, so that it can be traced alone."""

    def __init__(self, block: nn.Module, *, takes_pair: bool) -> None:
        super().__init__()
        self.block, self.takes_pair = block, takes_pair

    def forward(self, x: Tensor) -> Tensor:
        found = self.block((x, x.new_zeros(x.shape[:2])) if self.takes_pair else x)
        return cast(Tensor, found[0] if isinstance(found, tuple) else found)


def _traced(block: nn.Module, input_shape: tuple[int, ...], *, dtype: str = "float32") -> Traced:
    takes_pair = dtype == "float32"
    ops, output = trace_block(_FirstOfPair(block, takes_pair=takes_pair), input_shape, dtype=dtype)
    # The mask comes from and goes to other blocks: what is computed of it is needed.
    return (Segment([replace(op, live=True) for op in ops]),), output


@dataclass(frozen=True, slots=True)
class EmbeddingSpec:
    """See TokenEmbedding."""

    n_ids: int
    n_tokens: int
    out_channels: int

    def build(self) -> nn.Module:
        """The plain block."""
        return TokenEmbedding(self)

    def segments(self, input_shape: tuple[int, ...]) -> Traced:
        """Operations, and the shape of the features."""
        with torch.device("meta"):
            return _traced(self.build(), input_shape, dtype="int64")


class TokenEmbedding(nn.Module):
    """Ids -> a learned vector of each id plus one of its place, and the mask."""

    def __init__(self, spec: EmbeddingSpec) -> None:
        super().__init__()
        self.words = nn.Embedding(spec.n_ids, spec.out_channels)
        self.places = nn.Parameter(torch.empty(spec.n_tokens, spec.out_channels))
        nn.init.normal_(self.words.weight, std=STD)
        nn.init.normal_(self.places, std=STD)

    def forward(self, ids: Tensor) -> Pair:
        """`n x tokens` -> features and mask."""
        return self.words(ids) + self.places, _mask(ids)


def _mask(ids: Tensor) -> Tensor:
    return (ids == PAD).float() * HIDDEN


class ElasticEmbedding(ElasticBlock):
    """Embedding of elastic width.

    Args:
        label: of the width, which all blocks after it have.
        n_ids, n_tokens: of the task.
        widths: ascending.
    """

    def __init__(self, label: str, n_ids: int, n_tokens: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.label, self.n_ids, self.n_tokens = label, n_ids, n_tokens
        self.choices, self.labels = (Choice(label, tuple(widths)),), (label,)
        self.words = nn.Parameter(torch.empty(n_ids, widths[-1]))
        self.places = nn.Parameter(torch.empty(n_tokens, widths[-1]))
        nn.init.normal_(self.words, std=STD)
        nn.init.normal_(self.places, std=STD)

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return EmbeddingSpec(self.n_ids, self.n_tokens, int(values[self.label]))

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock; it gives a pair."""
        width = int(values[self.label])
        found = F.embedding(x, self.words)[..., :width] + self.places[:, :width]
        return cast(Tensor, (found, _mask(x)))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        block, width = cast(TokenEmbedding, spec.build()), spec.out_channels
        with torch.no_grad():
            block.words.weight.copy_(self.words[:, :width])
            block.places.copy_(self.places[:, :width])
        return block, first(width)


class Attention(nn.Module):
    """Scaled dot products of every token with every token, as plain matrix products, which every runtime knows.

    It computes in fp32 at every precision: one range for scores and mask would leave no steps to the scores.
    Source: Vaswani et al., Attention Is All You Need, NeurIPS 2017.
    """

    keeps_fp32 = True

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, joined: Tensor, mask: Tensor) -> Tensor:
        """Queries, keys and values side by side, `n x tokens x 3 * heads * size` -> `n x tokens x heads * size`."""
        tokens, width = int(joined.shape[1]), int(joined.shape[2]) // 3  # plain numbers for the exporter
        size = width // self.heads
        parts = torch.split(joined, width, dim=2)
        queries, keys, values = [part.reshape(-1, tokens, self.heads, size).transpose(1, 2) for part in parts]
        scores = (queries * size**-0.5) @ keys.transpose(2, 3) + mask[:, None, None, :]
        found: Tensor = (scores.softmax(dim=-1) @ values).transpose(1, 2).reshape(-1, tokens, width)
        return found


@dataclass(frozen=True, slots=True)
class EncoderLayerSpec:
    """See EncoderLayer; `out_channels` is the width."""

    out_channels: int
    heads: int
    head_size: int
    hidden: int

    def build(self) -> nn.Module:
        """The plain block."""
        return EncoderLayer(self)

    def segments(self, input_shape: tuple[int, ...]) -> Traced:
        """Operations, and the shape of the features."""
        with torch.device("meta"):
            return _traced(self.build(), input_shape)


class EncoderLayer(nn.Module):
    """Norm, attention, sum; norm, two linear layers with a ReLU between them, sum.

    Source: Vaswani et al., NeurIPS 2017; norms first: Xiong et al., On Layer Normalization in the Transformer
    Architecture, ICML 2020.
    """

    def __init__(self, spec: EncoderLayerSpec) -> None:
        super().__init__()
        width, inner = spec.out_channels, spec.heads * spec.head_size
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project_in, self.project_out = nn.Linear(width, 3 * inner), nn.Linear(inner, width)
        self.attention = Attention(spec.heads)
        self.expand, self.contract = nn.Linear(width, spec.hidden), nn.Linear(spec.hidden, width)
        self.act = nn.ReLU()

    def forward(self, pair: Pair) -> Pair:
        """Features and mask -> new features, the same mask."""
        x, mask = pair
        x = x + self.project_out(self.attention(self.project_in(self.attention_norm(x)), mask))
        return x + self.contract(self.act(self.expand(self.hidden_norm(x)))), mask


class ElasticEncoderLayer(ElasticBlock):
    """An encoder layer of elastic heads and hidden width, for any width; its hidden units can be pruned.

    Args:
        name: of the layer, which is a stage of its own. The labels are `<name>.heads`, `<name>.hidden`, and `depth`.
        index: its place, from 0; the layer is active if the depth is above it.
        max_width: of the features.
        heads: their numbers, ascending; each head is as large in all of them.
        head_size: features of a head.
        hidden: units between the two linear layers, ascending.
        depths: numbers of layers that the network may have, ascending.
    """

    def __init__(
        self,
        name: str,
        index: int,
        max_width: int,
        *,
        heads: Sequence[int],
        head_size: int,
        hidden: Sequence[int],
        depths: Sequence[int],
    ) -> None:
        super().__init__()
        self.stage, self.index, self.head_size = name, index, head_size
        options = {f"{name}.heads": heads, f"{name}.hidden": hidden, "depth": depths}
        self.choices = tuple(Choice(label, tuple(values)) for label, values in options.items())
        self.labels = tuple(options)
        self.inner = heads[-1] * head_size
        self.attention_norm, self.hidden_norm = ElasticLayerNorm(max_width), ElasticLayerNorm(max_width)
        self.project_in = ElasticLinear(max_width, 3 * self.inner, std=STD)
        self.project_out = ElasticLinear(self.inner, max_width, std=STD)
        self.expand = ElasticLinear(max_width, hidden[-1], std=STD)
        self.contract = ElasticLinear(hidden[-1], max_width, std=STD)

    def _heads(self, values: Values) -> int:
        return int(values[f"{self.stage}.heads"])

    def _hidden(self, values: Values) -> int:
        return int(values[f"{self.stage}.hidden"])

    def _rows(self, heads: int) -> Tensor:
        """Rows of the first heads' queries, keys and values."""
        rows = torch.arange(heads * self.head_size)
        return torch.cat([rows, rows + self.inner, rows + 2 * self.inner])

    def is_active(self, values: Values) -> bool:
        """See ElasticBlock."""
        return self.index < int(values["depth"])

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        hidden = kept_channels(self._hidden(values), ratio, multiple)
        return EncoderLayerSpec(channels, self._heads(values), self.head_size, hidden)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock; it takes and gives a pair."""
        features, mask = cast(Pair, x)
        heads, width = self._heads(values), features.shape[-1]
        joined = self.project_in(self.attention_norm(features), self._rows(heads))
        features = features + self.project_out(Attention(heads)(joined, mask), width)
        hidden = self.expand(self.hidden_norm(features), self._hidden(values))
        return cast(Tensor, (features + self.contract(torch.relu(hidden), width), mask))

    def _kept(self, values: Values, count: int) -> Tensor:
        """The hidden units with the largest weights in both linear layers together."""
        hidden = self._hidden(values)
        if count == hidden:
            return first(count)
        with torch.no_grad():
            parts = [self.expand.weight[:hidden].abs().sum(1), self.contract.weight[:, :hidden].abs().sum(0)]
            total = torch.stack([part / part.mean().clamp_min(1e-12) for part in parts]).sum(0)
        return most_important(total.cpu(), count)

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        assert isinstance(spec, EncoderLayerSpec)
        block, width = EncoderLayer(spec), spec.out_channels
        kept = self._kept(values, spec.hidden)
        self.attention_norm.copy_to(block.attention_norm, width)
        self.hidden_norm.copy_to(block.hidden_norm, width)
        self.project_in.copy_to(block.project_in, width, self._rows(spec.heads))
        self.project_out.copy_to(block.project_out, spec.heads * spec.head_size, width)
        self.expand.copy_to(block.expand, width, kept)
        self.contract.copy_to(block.contract, kept, width)
        return block, inputs


@dataclass(frozen=True, slots=True)
class TokenClassifierSpec:
    """See TokenClassifier; `out_channels` is the number of logits."""

    in_channels: int
    out_channels: int

    def build(self) -> nn.Module:
        """The plain block."""
        return TokenClassifier(self)

    def segments(self, input_shape: tuple[int, ...]) -> Traced:
        """Operations, and the shape of the logits."""
        with torch.device("meta"):
            return _traced(self.build(), input_shape)


class TokenClassifier(nn.Module):
    """Norm, mean over the tokens that are not padding, linear layer."""

    def __init__(self, spec: TokenClassifierSpec) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(spec.in_channels), nn.Linear(spec.in_channels, spec.out_channels)
        self.mean = TokenMean()

    def forward(self, pair: Pair) -> Tensor:
        """Features and mask -> logits."""
        x, mask = pair
        return cast(Tensor, self.linear(self.mean(self.norm(x), mask)))


class TokenMean(nn.Module):
    """Mean over the tokens that are not padding, in fp32 at every precision."""

    keeps_fp32 = True

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features and mask -> `n x width`; a softmax of the mask gives all tokens one weight, and padding none."""
        return (mask.softmax(dim=1)[:, None, :] @ x).flatten(1)


class ElasticTokenClassifier(ElasticBlock):
    """See TokenClassifier; takes any width up to `max_width`."""

    def __init__(self, max_width: int, n_outputs: int) -> None:
        super().__init__()
        self.norm, self.linear = ElasticLayerNorm(max_width), ElasticLinear(max_width, n_outputs)
        self.n_outputs = n_outputs

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return TokenClassifierSpec(channels, self.n_outputs)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock; it takes a pair."""
        features, mask = cast(Pair, x)
        return cast(Tensor, self.linear(TokenMean()(self.norm(features), mask)))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        block = cast(TokenClassifier, spec.build())
        self.norm.copy_to(block.norm, len(inputs))
        self.linear.copy_to(block.linear, len(inputs))
        return block, first(self.n_outputs)
