"""Accuracy of a candidate with weights that it inherits: it is cut out of a trained network, and not trained itself."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from hwnas.accuracy.recalibrate import recalibrate
from hwnas.compress.quantize import simulate
from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.task import Task
from hwnas.elastic.data import accuracy, batches
from hwnas.errors import TrainingError

__all__ = ["InheritedEvaluator"]


class InheritedEvaluator(ABC):
    """Cuts the candidate out, recalibrates batch norm, simulates the precision, reads the validation split.

    Args:
        task: gives the splits.
        source: where the weights come from, as `Evaluation.source` says it.
        n_calibration: training samples for batch norm and for int8 ranges.
        limit: validation samples to read; None reads all.
        weight_bits: of int8 weights: 7 where the target's CPU saturates (no VNNI), else 8.
    """

    def __init__(
        self, task: Task, source: str, *, n_calibration: int = 128, limit: int | None = None, weight_bits: int = 8
    ) -> None:
        self.task, self.source, self.limit, self.weight_bits = task, source, limit, weight_bits
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        walk = batches(task.train, task.preprocessing, 64, device=self.device, limit=n_calibration)
        self.calibration: list[Tensor] = [inputs for inputs, _ in walk]

    @abstractmethod
    def cut(self, candidate: Candidate) -> nn.Module:
        """A new network with the weights that the candidate inherits, at full precision."""

    @abstractmethod
    def teacher(self) -> nn.Module | None:
        """The network that teaches in distillation, on the CPU."""

    def is_final(self, candidate: Candidate) -> bool:
        """Whether the weights are to be taken as they are."""
        return False

    def closer(self) -> Self | None:
        """One that reads the whole validation split."""
        if self.n_read == len(self.task.validation):
            return None
        found = copy.copy(self)  # the trained weights are the same
        found.limit = None
        return found

    @property
    def n_read(self) -> int:
        """Validation samples that are read for a candidate."""
        return min(self.limit or len(self.task.validation), len(self.task.validation))

    def subnet(self, candidate: Candidate) -> nn.Module:
        """The network at full precision, recalibrated unless its weights are final, on the evaluator's device."""
        model = self.cut(candidate)
        model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model.eval() if self.is_final(candidate) else recalibrate(model, self.calibration)

    def network(self, candidate: Candidate) -> nn.Module:
        """The same, on the CPU."""
        return self.subnet(candidate).cpu()

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
        return Evaluation(value, self.n_read, "validation", precision, self.source, time.monotonic() - start)
