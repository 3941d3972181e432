"""Accuracy of a candidate of a plain space: it is built and trained alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from hwnas.compress.distill import fine_tune
from hwnas.compress.quantize import simulate
from hwnas.core.candidate import Candidate
from hwnas.core.error_text import first_line
from hwnas.core.evaluation import Evaluation
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task, TaskShape
from hwnas.elastic.data import accuracy, normalised
from hwnas.errors import BuildError, RunFolderError
from hwnas.store import write_atomic
from hwnas.trace import checked_build

__all__ = ["RUNGS", "TrainedEvaluator", "weights_name"]

RUNGS = 2  # trainings of one candidate, of which each goes on with the one before


class TrainedEvaluator:
    """Trains each candidate from fresh weights for a few epochs; its weights are kept in the run folder.

    Args:
        space: a plain space.
        task: its task.
        epochs: of each candidate at rung 0.
        seed: of weights, order and augmentation; with the candidate's id it decides the result.
        folder: where weights are kept.
        on_epoch: called with (epoch from 1, validation accuracy, mean training loss).
        rung: 0; see `closer`.
    """

    def __init__(
        self,
        space: SearchSpace,
        task: Task,
        *,
        epochs: int,
        seed: int,
        folder: Path,
        learning_rate: float = 3e-3,
        on_epoch: Callable[[int, float, float], None] | None = None,
        rung: int = 0,
    ) -> None:
        self.space, self.task, self.epochs, self.seed = space, task, epochs, seed
        self.folder, self.learning_rate, self.on_epoch = folder, learning_rate, on_epoch
        self.rung = rung

    def closer(self) -> TrainedEvaluator | None:
        """One that goes on with the training of a candidate, until it had three times the epochs."""
        if self.rung == RUNGS - 1:
            return None
        return TrainedEvaluator(
            self.space,
            self.task,
            epochs=self.epochs,
            seed=self.seed,
            folder=self.folder,
            learning_rate=self.learning_rate,
            on_epoch=self.on_epoch,
            rung=self.rung + 1,
        )

    def _fresh(self, candidate: Candidate) -> nn.Module:
        # The architecture, not the plan, decides the weights: each precision of a network starts from the same.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + int(candidate.architecture.id, 16) % 2**31)
            module = checked_build(self.space, candidate, self.task)
        example = torch.zeros(2, *self.task.input_shape, dtype=getattr(torch, TaskShape.of(self.task).dtype))
        with torch.no_grad():
            try:
                output = module.eval()(example)
            except Exception as error:  # a network of the user's may raise anything
                reason = first_line(error)
                raise BuildError(
                    f"space {self.space.name!r}, architecture {dict(candidate.architecture)}: the network does not run "
                    f"on an input of shape {self.task.input_shape}: {reason}"
                ) from error
        if not isinstance(output, torch.Tensor) or output.shape != (2, self.task.n_outputs):
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise BuildError(
                f"space {self.space.name!r}, architecture {dict(candidate.architecture)}: the output must have shape "
                f"(n, {self.task.n_outputs}), got {shape} for n = 2"
            )
        return module

    def network(self, candidate: Candidate) -> nn.Module:
        """The network that was trained longest, in eval mode on the CPU; trained now unless its weights are kept.

        Raises:
            BuildError: `build` raised, or the network has the wrong output shape.
            TrainingError: the loss is not finite.
            RunFolderError: its kept weights are damaged, or of another network.
        """
        longest = max((rung for rung in range(RUNGS) if self._path(candidate, rung).exists()), default=self.rung)
        return self._trained(candidate, longest)

    def _path(self, candidate: Candidate, rung: int) -> Path:
        return self.folder / weights_name(candidate, rung)

    def _trained(self, candidate: Candidate, rung: int) -> nn.Module:
        """A candidate as it is after the training of a rung."""
        path = self._path(candidate, rung)
        if path.exists():
            return _with_weights(self._fresh(candidate), path)
        module = self._trained(candidate, rung - 1) if rung else self._fresh(candidate)
        epochs = self.epochs * (3**rung - 3 ** (rung - 1)) if rung else self.epochs
        result = fine_tune(
            module, self.task, epochs=epochs, lr=self.learning_rate, seed=self.seed, on_epoch=self.on_epoch
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.contiguous() for name, tensor in result.model.state_dict().items()}
        write_atomic(path, save(state))
        return result.model

    def teacher(self) -> nn.Module | None:
        """A plain space has none: its largest network may never have been trained."""
        return None

    def is_final(self, candidate: Candidate) -> bool:
        """No: a few epochs are too few."""
        return False

    def evaluate(self, candidate: Candidate) -> Evaluation:
        """See hwnas.core.evaluation.Evaluator."""
        start, precision = time.monotonic(), candidate.compression.precision
        calibration = normalised(self.task.train.inputs[:32], self.task.preprocessing)
        model = simulate(self._trained(candidate, self.rung), precision, calibration)
        value = accuracy(model, self.task.validation, self.task.preprocessing)
        n = len(self.task.validation)
        return Evaluation(value, n, "validation", precision, "trained", time.monotonic() - start)


def weights_name(candidate: Candidate, rung: int) -> str:
    """The file of a candidate's weights after the training of a rung."""
    return f"{candidate.architecture.id}{f'-{rung}' if rung else ''}.safetensors"


def _with_weights(module: nn.Module, path: Path) -> nn.Module:
    try:
        module.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch each have errors of their own
        reason = first_line(error)
        raise RunFolderError(
            f"{path} is damaged or of another network ({reason}); delete it to train the network again"
        ) from error
    return module.eval()
