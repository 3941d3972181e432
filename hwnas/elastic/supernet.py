"""A supernet: a chain of elastic blocks that holds all architectures of a space in one set of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from hwnas.core.architecture import Architecture, Value
from hwnas.core.compression import CompressionPlan
from hwnas.core.ops import OpList, Segment
from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values, first, most_important, spec_segments
from hwnas.errors import ConfigError, InvalidArchitectureError

__all__ = ["Supernet"]

Shape = tuple[int, ...]


class Supernet(nn.Module):
    """Elastic blocks, one after the other.

    Attributes:
        input_shape: (channels, height, width), without the batch.
        choices: collected from the blocks, sorted by label; blocks may share a choice.
        stages: names of the stages whose channels can be pruned, in the order of the blocks.
    Raises:
        ConfigError: two blocks give one label different options.
    """

    def __init__(self, blocks: Sequence[ElasticBlock], input_shape: Shape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.input_shape = tuple(input_shape)
        found: dict[str, Choice] = {}
        for choice in (choice for block in blocks for choice in block.choices):
            if found.setdefault(choice.label, choice) != choice:
                options = (found[choice.label].options, choice.options)
                raise ConfigError(f"choice {choice.label!r} has two sets of options: {options[0]} and {options[1]}")
        self.choices = tuple(found[label] for label in sorted(found))
        self.stages = tuple(dict.fromkeys(block.stage for block in blocks if block.stage is not None))
        self._walked: dict[tuple[object, ...], tuple[tuple[Segment, ...], int, Shape]] = {}

    def _blocks(self) -> Iterator[ElasticBlock]:
        for block in self.blocks:
            assert isinstance(block, ElasticBlock)
            yield block

    def forward(self, x: Tensor, values: Mapping[str, Value]) -> Tensor:
        """Run one architecture with the first channels of each layer: `n x input_shape` -> `n x n_outputs`."""
        for block in self._blocks():
            if block.is_active(values):
                x = block(x, values)
        return x

    def operations(self, values: Values, plan: CompressionPlan, multiple: int) -> OpList:
        """Operations of an architecture under a plan; the segments of equal blocks are shared."""
        parts = [part for _, parts in self._walk(values, plan, multiple) for part in parts]
        return OpList(parts).at(plan.precision)

    def segment_names(self, values: Values, plan: CompressionPlan, multiple: int) -> tuple[str, ...]:
        """For each segment of `operations`, the name of the stage or the part of the network that it belongs to."""
        return tuple(_name_of(block) for block, parts in self._walk(values, plan, multiple) for _ in parts)

    def _walk(
        self, values: Values, plan: CompressionPlan, multiple: int
    ) -> Iterator[tuple[ElasticBlock, tuple[Segment, ...]]]:
        """Each active block with the segments that it becomes."""
        self._check_stages(plan)
        ratios = dict(plan.prune)
        channels, shape = self.input_shape[0], self.input_shape
        for number, block in enumerate(self._blocks()):
            if not block.is_active(values):
                continue
            ratio = ratios.get(block.stage, 0.0) if block.stage else 0.0
            key = (number, shape, ratio, multiple, *[values[label] for label in block.labels])
            found = self._walked.get(key)
            if found is None:
                spec = block.spec(values, channels, ratio, multiple)
                parts, shape = spec_segments(spec, shape)
                found = self._walked[key] = (parts, spec.out_channels, shape)
            parts, channels, shape = found
            yield block, parts

    def used_labels(self, values: Values) -> set[str]:
        """Labels that the active blocks of an architecture read."""
        return {label for block in self._blocks() if block.is_active(values) for label in block.labels}

    def specs(self, values: Values, plan: CompressionPlan, multiple: int) -> list[tuple[ElasticBlock, BlockSpec]]:
        """The active blocks with the plain block that each becomes."""
        self._check_stages(plan)
        ratios, channels, found = dict(plan.prune), self.input_shape[0], []
        for block in self._blocks():
            if block.is_active(values):
                spec = block.spec(values, channels, ratios.get(block.stage or "", 0.0), multiple)
                found.append((block, spec))
                channels = spec.out_channels
        return found

    def fresh(self, values: Values, plan: CompressionPlan, multiple: int = 8) -> nn.Module:
        """The plain network of an architecture with new weights, in train mode."""
        return nn.Sequential(*[spec.build() for _, spec in self.specs(values, plan, multiple)])

    def extract(self, architecture: Architecture, plan: CompressionPlan | None = None, multiple: int = 8) -> nn.Module:
        """Cut a subnet out: a plain network on the CPU in eval mode that inherits its weights.

        Its batch-norm statistics are those of fresh layers: recalibrate before it is scored.

        Args:
            plan: its stages lose the channels with the smallest weights; its precision is not applied.
            multiple: channel counts that stay are multiples of it.
        """
        plan = plan or CompressionPlan()
        values, index, modules = dict(architecture), first(self.input_shape[0]), []
        kept: dict[str, Tensor] = {}
        for block, spec in self.specs(values, plan, multiple):
            outputs = self._stage_channels(block, values, spec.out_channels, kept) if block.stage else None
            module, index = block.extract(values, spec, index, outputs)
            modules.append(module)
        return nn.Sequential(*modules).cpu().eval()

    def _stage_channels(
        self, block: ElasticBlock, values: Values, count: int, kept: dict[str, Tensor]
    ) -> Tensor | None:
        """Which channels of a stage's width stay: the same for all its blocks, because their outputs are added."""
        stage = block.stage or ""
        if stage not in kept:
            members = [other for other in self._blocks() if other.stage == stage and other.is_active(values)]
            parts = [part for other in members if (part := other.width_importance(values)) is not None]
            if not parts:
                return None
            total = torch.stack([part / part.mean().clamp_min(1e-12) for part in parts]).sum(0)
            kept[stage] = most_important(total.cpu(), count)
        return kept[stage]

    def _check_stages(self, plan: CompressionPlan) -> None:
        if unknown := [stage for stage, _ in plan.prune if stage not in self.stages]:
            raise InvalidArchitectureError(f"no prunable stages {unknown}; allowed: {', '.join(self.stages) or 'none'}")


def _name_of(block: ElasticBlock) -> str:
    """Its stage; else what its choices are called by, or what kind of block it is."""
    if block.stage or not block.labels:
        return block.stage or type(block).__name__.removeprefix("Elastic").lower()
    return block.labels[0].partition(".")[0]
