"""Accuracy of a candidate with the weights that it inherits from a trained supernet: one evaluation, no training."""

from __future__ import annotations

from torch import nn

from hwnas.accuracy.inherited import InheritedEvaluator
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.task import Task
from hwnas.elastic.supernet import Supernet

__all__ = ["SupernetEvaluator"]


class SupernetEvaluator(InheritedEvaluator):
    """Cuts the subnet out, prunes it, recalibrates batch norm, simulates the precision, reads the validation split.

    Args:
        net: a trained supernet.
        largest: the architecture that taught the others.
        task: its task.
        multiple: the device's friendly channel multiple.
        n_calibration: training samples for batch norm and for int8 ranges.
        limit: validation samples to read; None reads all.
        weight_bits: of int8 weights: 7 where the target's CPU saturates (no VNNI), else 8.
    """

    def __init__(
        self,
        net: Supernet,
        largest: Architecture,
        task: Task,
        *,
        multiple: int = 8,
        n_calibration: int = 128,
        limit: int | None = None,
        weight_bits: int = 8,
    ) -> None:
        super().__init__(task, "supernet", n_calibration=n_calibration, limit=limit, weight_bits=weight_bits)
        self.net, self.largest, self.multiple = net, largest, multiple

    def cut(self, candidate: Candidate) -> nn.Module:
        """The subnet with the supernet's weights, pruned."""
        return self.net.extract(candidate.architecture, candidate.compression, self.multiple)

    def teacher(self) -> nn.Module | None:
        """The network that taught the others, recalibrated, on the CPU."""
        return self.network(Candidate(self.largest))
