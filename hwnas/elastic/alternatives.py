"""A choice between whole blocks, each with weights of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from hwnas.core.architecture import Value
from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values

__all__ = ["ElasticAlternatives"]


class ElasticAlternatives(ElasticBlock):
    """One of several elastic blocks, by the value of one label.

    Args:
        label: of the choice between them.
        alternatives: option -> (block, values that the option sets for it), cheapest first. Several options may name
            one block. What a block offers beside the values that are set for it stays a choice.
    """

    def __init__(self, label: str, alternatives: Mapping[Value, tuple[ElasticBlock, Values]]) -> None:
        super().__init__()
        self.label = label
        blocks = list(dict.fromkeys(block for block, _ in alternatives.values()))
        self.blocks = nn.ModuleList(blocks)
        self._chosen = {option: (blocks.index(block), dict(given)) for option, (block, given) in alternatives.items()}
        own = [c for block, given in alternatives.values() for c in block.choices if c.label not in given]
        self.choices = (Choice(label, tuple(alternatives)), *dict.fromkeys(own))
        read = [name for block, given in alternatives.values() for name in block.labels if name not in given]
        self.labels = (label, *dict.fromkeys(read))
        self.stage = next((block.stage for block in blocks if block.stage is not None), None)

    def _pick(self, values: Values) -> tuple[ElasticBlock, Values]:
        number, given = self._chosen[values[self.label]]
        return cast(ElasticBlock, self.blocks[number]), {**values, **given}

    def is_active(self, values: Values) -> bool:
        """See ElasticBlock."""
        block, inner = self._pick(values)
        return block.is_active(inner)

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        block, inner = self._pick(values)
        return block.spec(inner, channels, ratio, multiple)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        block, inner = self._pick(values)
        return cast(Tensor, block(x, inner))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        block, inner = self._pick(values)
        return block.extract(inner, spec, inputs, outputs)

    def width_importance(self, values: Values) -> Tensor | None:
        """See ElasticBlock."""
        block, inner = self._pick(values)
        return block.width_importance(inner)
