"""The search space of a network that is there already: how much of each stage is cut away."""

from __future__ import annotations

import copy
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

RATIOS = (0.0, 0.25, 0.5, 0.75)
_MOST_KEPT = 20_000  # traced networks


class NetworkSpace(SearchSpace):
    """One architecture, the user's own; its candidates differ in precision and in the ratio of each stage.

    Args:
        name: of the network.
        prunable: the network with its weights.
        task: the shapes that it is for.
        sensitivity: leaves out ratios that cost too much; None: none is left out.
        multiple: channel counts that pruning leaves are multiples of it; of several ratios that leave the same, the
            least is offered.
        importance: how channels were chosen.
    Raises:
        BuildError: the network cannot be traced.
    """

    weight_shared = True

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
        super().__init__(f"own-{name}", [Choice("network", (name,))], self._copy)
        self.prunable, self.sensitivity, self.multiple, self.importance = prunable, sensitivity, multiple, importance
        self._shape = TaskShape(tuple(task.input_shape), task.n_outputs)
        self.fingerprint = f"{fingerprint_of(prunable.network)} {importance} {'x'.join(map(str, task.input_shape))}"
        self._outline = copy.deepcopy(prunable.network).to("meta")
        self._traced: dict[tuple[int, ...], OpList] = {}
        self._ratios = {stage: self._different(stage) for stage in prunable.stages}
        self.operations(Candidate(self.largest()))

    def narrowed(self, sensitivity: Sensitivity) -> NetworkSpace:
        """The same space without the ratios that cost too much."""
        name = str(self.choices[0].options[0])
        return NetworkSpace(
            name, self.prunable, self._shape,
            sensitivity=sensitivity, multiple=self.multiple, importance=self.importance,
        )  # fmt: skip

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose channels can be pruned."""
        return tuple(self.prunable.stages)

    def prune_ratios(self, stage: str) -> tuple[float, ...]:
        """Shares of channels that a stage may lose, ascending from 0."""
        return self._ratios[stage]

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
        """Operations of a candidate, with the channels that are left."""
        self.check(candidate.architecture)
        kept = self._kept(candidate.compression, multiple)
        if kept not in self._traced:
            if len(self._traced) >= _MOST_KEPT:
                self._traced.clear()
            outline = PrunableNetwork(self._outline, self.prunable.groups, self.prunable.stages)
            self._traced[kept] = trace_module(outline.cut_to(kept), self._shape.input_shape)
        return self._traced[kept].at(candidate.compression.precision)

    def least_plan(self, plan: CompressionPlan, multiple: int) -> CompressionPlan:
        """The same plan with the least ratio of each stage that leaves the same channels, and without those of none."""
        ratios = dict(plan.prune)
        for stage, ratio in plan.prune:
            same = (
                r
                for r in self._ratios[stage]
                if self._kept_of(stage, r, multiple) == self._kept_of(stage, ratio, multiple)
            )
            ratios[stage] = next(same, ratio)
        return CompressionPlan.of(plan.precision, ratios)

    def fresh(self, candidate: Candidate, multiple: int | None = None) -> nn.Module:
        """A candidate with the weights that are left, in eval mode."""
        self.check(candidate.architecture)
        return self.prunable.cut_to(self._kept(candidate.compression, multiple))

    def _kept(self, plan: CompressionPlan, multiple: int | None) -> tuple[int, ...]:
        return self.prunable.kept(dict(plan.prune), multiple or self.multiple)

    def _kept_of(self, stage: str, ratio: float, multiple: int) -> tuple[int, ...]:
        return self.prunable.kept({stage: ratio}, multiple)

    def _different(self, stage: str) -> tuple[float, ...]:
        """Ratios of a stage that leave different channels."""
        offered = RATIOS if self.sensitivity is None else self.sensitivity.ratios(stage)
        first: dict[tuple[int, ...], float] = {}
        for ratio in offered:
            first.setdefault(self._kept_of(stage, ratio, self.multiple), ratio)
        return tuple(first.values())

    def _copy(self, architecture: Architecture, task: TaskLike) -> Any:
        return copy.deepcopy(self.prunable.network)
