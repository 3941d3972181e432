"""What a supernet is made of: elastic blocks, and the specs of the plain blocks that are cut out of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor, nn

from hwnas.core.architecture import Value
from hwnas.core.ops import Segment
from hwnas.core.space import Choice
from hwnas.elastic.layers import Channels
from hwnas.trace import trace_block

__all__ = ["BlockSpec", "ElasticBlock", "first", "most_important", "most_important_together", "spec_segments"]

Values = Mapping[str, Value]
Shape = tuple[int, ...]


class BlockSpec(Protocol):
    """A plain block as numbers: hashable, so that what is computed from it is computed once."""

    @property
    def out_channels(self) -> int:
        """Channels of its output."""

    def build(self) -> nn.Module:
        """The block with fresh weights."""

    def __hash__(self) -> int: ...


class ElasticBlock(nn.Module):
    """One block of a supernet.

    A subclass sets `choices`, and `stage` if its channels can be pruned; `labels` names every choice that
    `spec` and `is_active` read, own or shared, so that a supernet can keep what it computed.
    """

    choices: tuple[Choice, ...] = ()
    labels: tuple[str, ...] = ()
    stage: str | None = None

    def is_active(self, values: Values) -> bool:
        """Whether the architecture has this block at all (elastic depth)."""
        return True

    @abstractmethod
    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """The plain block for these choices, `channels` at its input and `ratio` of its stage pruned."""

    @abstractmethod
    def forward(self, x: Tensor, values: Values) -> Tensor:
        """Run the block as these choices have it, with the first channels of each layer."""

    @abstractmethod
    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """Cut the plain block out, weights inherited.

        Args:
            values: the choices that `spec` was made of.
            spec: from `spec`.
            inputs: which of the supernet's channels its input holds, ascending.
            outputs: which channels its output must hold, if the stage's width is pruned; else None.
        Returns:
            The module, and which of the supernet's channels its output holds.
        """

    def width_importance(self, values: Values) -> Tensor | None:
        """Importance of each output channel of the stage, or None if the stage is pruned inside its blocks only."""
        return None


def most_important(importance: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest values, ascending."""
    return torch.sort(torch.topk(importance, count).indices).values


def most_important_together(parts: Sequence[Tensor], count: int, *, of: int) -> Tensor:
    """Indices of the `count` most important of the first `of` channels, ascending, by several layers that hold them.

    Args:
        parts: importance of the channels in each layer; each layer counts as much as the others.
    """
    total = torch.stack([part[:of] / part[:of].mean() for part in parts]).sum(0)
    return most_important(total.cpu(), count)


def first(channels: Channels) -> Tensor:
    """0, 1, ... as an index tensor."""
    return channels if isinstance(channels, Tensor) else torch.arange(channels)


@lru_cache(maxsize=200_000)
def spec_segments(spec: BlockSpec, input_shape: Shape) -> tuple[tuple[Segment, ...], Shape]:
    """Operations of a plain block and the shape of its output; kept, so that equal blocks share segments."""
    custom = getattr(spec, "segments", None)
    if custom is not None:
        return custom(input_shape)  # type: ignore[no-any-return]
    with torch.device("meta"):
        module = spec.build()
    ops, output = trace_block(module, input_shape)
    return (Segment(ops),), output
