"""The search space of a network that is there already: how much of each stage, which blocks and heads are cut away."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from hwnas.compress.own import fingerprint_of
from hwnas.compress.prune import PrunableNetwork
from hwnas.compress.sensitivity import Sensitivity
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.ops import OpList
from hwnas.core.space import Choice, SearchSpace
from hwnas.core.task import TaskLike, TaskShape
from hwnas.errors import ConfigError
from hwnas.trace import trace_module

__all__ = ["RATIOS", "NetworkSpace"]

BLOCKS = "blocks."  # begins the labels of choices of how many blocks of a sequence stay
HEADS = "heads."  # and of how many heads of an attention
RATIOS = (0.0, 0.25, 0.5, 0.75)
_MOST_KEPT = 20_000  # traced networks


class NetworkSpace(SearchSpace):
    """The user's own network; candidates differ in precision, in the ratio of each stage, and in what stays whole.

    That is how many blocks of a sequence, whose last ones go first, and how many heads of an attention, whose least
    important ones do.

    Args:
        name: of the network.
        prunable: the network with its weights.
        task: the shapes that it is for.
        sensitivity: leaves out ratios that cost too much; None: none is left out.
        multiple: channel counts that pruning leaves are multiples of it; of several ratios that leave the same, the
            least is offered.
        importance: how channels and heads were chosen.
    Raises:
        BuildError: the network cannot be traced.
    """

    weight_shared = True
    of_one_network = True

    def __init__(
        self,
        name: str,
        prunable: PrunableNetwork,
        task: TaskLike,
        *,
        sensitivity: Sensitivity | None = None,
        multiple: int = 8,
        importance: str = "magnitude",
    ) -> None:
        self.prunable, self.sensitivity, self.multiple, self.importance = prunable, sensitivity, multiple, importance
        self._blocks = {f"{BLOCKS}{home or 'all'}": blocks for home, blocks in prunable.blocks.items()}
        self._heads = {f"{HEADS}{group.name}": group for group in prunable.heads}
        whole = [*self._blocks, *self._heads]
        choices = [Choice("network", (name,)), *(Choice(label, self._counts(label)) for label in whole)]
        super().__init__(f"own-{name}", choices, self._copy)
        self._name = name
        self._shape = TaskShape(tuple(task.input_shape), task.n_outputs)
        self.fingerprint = f"{fingerprint_of(prunable.network)} {importance} {'x'.join(map(str, task.input_shape))}"
        self._outline = copy.deepcopy(prunable.network).to("meta")
        self._traced: dict[tuple[tuple[int, ...], tuple[str, ...], tuple[tuple[str, int], ...]], OpList] = {}
        self._ratios = {stage: self._different(stage) for stage in prunable.stages}
        self.operations(Candidate(self.largest()))

    def narrowed(self, sensitivity: Sensitivity) -> NetworkSpace:
        """The same space without the ratios that cost too much."""
        return NetworkSpace(
            self._name, self.prunable, self._shape,
            sensitivity=sensitivity, multiple=self.multiple, importance=self.importance,
        )  # fmt: skip

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose channels can be pruned."""
        return tuple(self.prunable.stages)

    def prune_ratios(self, stage: str) -> tuple[float, ...]:
        """Shares of channels that a stage may lose, ascending from 0."""
        return self._ratios[stage]

    def shares(self) -> dict[str, tuple[float, ...]]:
        """What a sensitivity pass tries: stage -> ratios above 0; choice of blocks or heads -> shares that go."""
        ratios = {stage: self._ratios[stage][1:] for stage in self.stages}
        counts = {
            choice.label: tuple(1 - int(count) / int(choice.options[-1]) for count in choice.options[-2::-1])
            for choice in self.choices
            if choice.label in self._blocks or choice.label in self._heads
        }
        return ratios | counts

    def shortened(self, shares: Mapping[str, float], precision: str = "fp32") -> Candidate:
        """The candidate that `shares` describe; what they do not name stays whole."""
        values = dict(self.largest())
        counted = (self._blocks.keys() | self._heads.keys()) & shares.keys()
        for label in counted:
            values[label] = round(int(values[label]) * (1 - shares[label]))
        ratios = {stage: share for stage, share in shares.items() if stage not in counted}
        return Candidate(self.architecture(values), CompressionPlan.of(precision, ratios))

    def is_whole(self, candidate: Candidate) -> bool:
        """Whether it is the network as it came."""
        return not candidate.compression.prune and candidate.architecture == self.largest()

    def canonical(self, architecture: Architecture) -> Architecture:
        """One architecture for all that are the same network: heads in blocks that are left out do not count."""
        left_out = self._left_out(architecture)
        if not left_out or not self._heads:
            return architecture
        unused = [label for label, group in self._heads.items() if group.is_in(left_out)]
        least = {choice.label: choice.options[0] for choice in self.choices if choice.label in unused}
        return Architecture.of(self.name, {**architecture, **least})

    def for_task(self, task: TaskLike) -> NetworkSpace:
        """The space itself; its network is for one task.

        Raises:
            ConfigError: the task has other shapes.
        """
        if TaskShape(tuple(task.input_shape), task.n_outputs) != self._shape:
            raise ConfigError(
                f"the network of {self.name!r} takes {self._shape.input_shape} and gives {self._shape.n_outputs} "
                f"logits, the task has {tuple(task.input_shape)} and {task.n_outputs}; choose another --task"
            )
        return self

    def operations(self, candidate: Candidate, *, multiple: int | None = None) -> OpList:
        """Operations of a candidate, with the channels and heads that are left."""
        self.check(candidate.architecture)
        left_out = self._left_out(candidate.architecture)
        kept = self.prunable.kept(dict(candidate.compression.prune), multiple or self.multiple, left_out)
        heads = self._fewer_heads(candidate.architecture)
        what = (kept, left_out, tuple(heads.items()))
        if what not in self._traced:
            if len(self._traced) >= _MOST_KEPT:
                self._traced.clear()
            outline = replace(self.prunable, network=self._outline)
            self._traced[what] = trace_module(outline.cut_to(kept, left_out, heads), self._shape.input_shape)
        return self._traced[what].at(candidate.compression.precision)

    def least_plan(self, candidate: Candidate, multiple: int) -> CompressionPlan:
        """The same plan with the least ratio of each stage that leaves the same channels, and without those of none."""
        plan, left_out = candidate.compression, self._left_out(candidate.architecture)
        ratios = dict(plan.prune)
        for stage, ratio in plan.prune:
            kept = self.prunable.kept({stage: ratio}, multiple, left_out)
            same = (r for r in self._ratios[stage] if self.prunable.kept({stage: r}, multiple, left_out) == kept)
            ratios[stage] = next(same, ratio)
        return CompressionPlan.of(plan.precision, ratios)

    def fresh(self, candidate: Candidate, multiple: int | None = None) -> nn.Module:
        """A candidate with the weights that are left, in eval mode."""
        self.check(candidate.architecture)
        ratios, left_out = dict(candidate.compression.prune), self._left_out(candidate.architecture)
        heads = self._fewer_heads(candidate.architecture)
        return self.prunable.pruned(ratios, multiple=multiple or self.multiple, left_out=left_out, heads=heads)

    def _fewer_heads(self, architecture: Architecture) -> dict[str, int]:
        """Attention of which heads go -> how many stay; without that in blocks which are left out."""
        left_out = self._left_out(architecture)
        counts = {group.name: int(architecture[label]) for label, group in self._heads.items()}
        return {
            group.name: counts[group.name]
            for group in self._heads.values()
            if counts[group.name] < group.heads and not group.is_in(left_out)
        }

    def _left_out(self, architecture: Architecture) -> tuple[str, ...]:
        """Blocks that an architecture does without."""
        gone: list[str] = []
        for label, blocks in self._blocks.items():
            stay = int(architecture[label]) - (self._length(label) - len(blocks))
            gone += blocks[stay:]
        return tuple(gone)

    def _length(self, label: str) -> int:
        """How many blocks a sequence has, those that cannot go included."""
        home = label.removeprefix(BLOCKS)
        sequence = self.prunable.network if home == "all" and "" in self.prunable.blocks else None
        return len(list((sequence or self.prunable.network.get_submodule(home)).children()))

    def _counts(self, label: str) -> tuple[int, ...]:
        """How many blocks of a sequence, or heads of an attention, may stay, ascending."""
        if label in self._heads:
            options = self._heads[label].options
            most = 1.0 if self.sensitivity is None else self.sensitivity.ratios(label)[-1]
            return tuple(count for count in options if count >= round(options[-1] * (1 - most)))
        length = self._length(label)
        least = length - len(self._blocks[label])
        if self.sensitivity is not None:
            least = max(least, round(length * (1 - self.sensitivity.ratios(label)[-1])))
        return tuple(range(least, length + 1))

    def _different(self, stage: str) -> tuple[float, ...]:
        """Ratios of a stage that leave different channels."""
        offered = RATIOS if self.sensitivity is None else self.sensitivity.ratios(stage)
        first: dict[tuple[int, ...], float] = {}
        for ratio in offered:
            first.setdefault(self.prunable.kept({stage: ratio}, self.multiple), ratio)
        return tuple(first.values())

    def _copy(self, architecture: Architecture, task: TaskLike) -> Any:
        return self.fresh(Candidate(architecture))
