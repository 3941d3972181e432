"""Accuracy of a candidate with the weights that it inherits from a trained supernet: one evaluation, no training."""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor, nn

from hwnas.accuracy.recalibrate import recalibrate
from hwnas.compress.quantize import simulate
from hwnas.core.architecture import Architecture
from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.task import Task
from hwnas.elastic.data import accuracy, batches
from hwnas.elastic.supernet import Supernet
from hwnas.errors import TrainingError

__all__ = ["SupernetEvaluator"]


class SupernetEvaluator:
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
        self.net, self.largest, self.task, self.multiple = net, largest, task, multiple
        self.limit, self.weight_bits = limit, weight_bits
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        walk = batches(task.train, task.preprocessing, 64, device=self.device, limit=n_calibration)
        self.calibration: list[Tensor] = [inputs for inputs, _ in walk]

    def subnet(self, candidate: Candidate) -> nn.Module:
        """The recalibrated subnet at full precision, on the evaluator's device."""
        model = self.net.extract(candidate.architecture, candidate.compression, self.multiple)
        model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return recalibrate(model, self.calibration)

    def network(self, candidate: Candidate) -> nn.Module:
        """The recalibrated subnet at full precision, on the CPU."""
        return self.subnet(candidate).cpu()

    def teacher(self) -> nn.Module | None:
        """The network that taught the others, recalibrated, on the CPU."""
        return self.network(Candidate(self.largest))

    def closer(self) -> SupernetEvaluator | None:
        """One that reads the whole validation split."""
        if self.limit is None or self.limit >= len(self.task.validation):
            return None
        found = copy.copy(self)  # the supernet is the same
        found.limit = None
        return found

    def evaluate(self, candidate: Candidate) -> Evaluation:
        """See hwnas.core.evaluation.Evaluator."""
        start = time.monotonic()
        precision = candidate.compression.precision
        model = simulate(
            self.subnet(candidate), precision, self.calibration[0][:32], weight_bits=self.weight_bits, in_place=True
        )
        with torch.inference_mode():
            finite = bool(torch.isfinite(model(self.calibration[0])).all())
        if not finite:
            raise TrainingError(f"candidate {candidate.id}: the network's output is not finite")
        value = accuracy(model, self.task.validation, self.task.preprocessing, limit=self.limit)
        n = min(self.limit or len(self.task.validation), len(self.task.validation))
        return Evaluation(value, n, "validation", precision, "supernet", time.monotonic() - start)
