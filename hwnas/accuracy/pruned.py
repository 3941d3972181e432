"""Accuracy of a pruned network before it is fine-tuned: the weights that are left, batch norm recalibrated."""

from __future__ import annotations

import copy

from torch import nn

from hwnas.accuracy.inherited import InheritedEvaluator
from hwnas.compress.space import NetworkSpace
from hwnas.core.candidate import Candidate
from hwnas.core.task import Task

__all__ = ["PrunedEvaluator"]


class PrunedEvaluator(InheritedEvaluator):
    """Prunes the user's network, recalibrates batch norm, simulates the precision, reads the validation split.

    Where nothing is pruned, the weights are taken as they are: it is the user's network.

    Args:
        space: of the network.
        task: its task.
        multiple: the device's friendly channel multiple.
        n_calibration: training samples for batch norm and for int8 ranges.
        limit: validation samples to read; None reads all.
        weight_bits: of int8 weights: 7 where the target's CPU saturates (no VNNI), else 8.
    """

    def __init__(
        self,
        space: NetworkSpace,
        task: Task,
        *,
        multiple: int = 8,
        n_calibration: int = 128,
        limit: int | None = None,
        weight_bits: int = 8,
    ) -> None:
        super().__init__(task, "pruned", n_calibration=n_calibration, limit=limit, weight_bits=weight_bits)
        self.space, self.multiple = space, multiple

    def cut(self, candidate: Candidate) -> nn.Module:
        """The network without the channels that the candidate's plan cuts."""
        return self.space.fresh(candidate, self.multiple)

    def is_final(self, candidate: Candidate) -> bool:
        """Whether it is the network as it came."""
        return self.space.is_whole(candidate)

    def teacher(self) -> nn.Module | None:
        """The user's network."""
        return copy.deepcopy(self.space.prunable.network)
