"""Fine-tuning with a teacher: the last step of a model that was cut out of a supernet, or all of its training."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.core.task import Split, Task
from hwnas.elastic.augment import augment
from hwnas.elastic.data import accuracy, batch_for, batches, device_of
from hwnas.errors import ConfigError, TrainingError

__all__ = ["FineTuneResult", "fine_tune", "logits_of"]

TEMPERATURE = 2.0  # softens both distributions; the loss is scaled back by its square
TEACHER_SHARE = 0.5  # of the loss; the rest is cross-entropy
WEIGHT_DECAY = 0.01  # on weights of two and more dimensions


@dataclass(frozen=True, slots=True)
class FineTuneResult:
    """The best weights that were seen, and how they came about.

    Attributes:
        model: a new module on the CPU, in eval mode.
        accuracy: of `model` on the validation split, fraction 0-1; never below `initial_accuracy`.
        initial_accuracy: of the weights that came in.
        epochs: epochs that were run, the last one perhaps in part.
        seconds: wall time.
    """

    model: nn.Module = field(repr=False)
    accuracy: float
    initial_accuracy: float
    epochs: int
    seconds: float


def fine_tune(
    model: nn.Module,
    task: Task,
    *,
    epochs: int,
    lr: float,
    teacher: nn.Module | Tensor | None = None,
    seed: int = 0,
    batch_size: int = 64,
    patience: int = 5,
    on_epoch: Callable[[int, float, float], None] | None = None,
    stop_after_s: float | None = None,
) -> FineTuneResult:
    """Train a copy of `model` with AdamW and a cosine schedule; keep the weights that are best on validation.

    Runs on the GPU if there is one (bfloat16 where it has it). The same seed gives the same weights on one machine,
    unless `stop_after_s` ends the training.

    Args:
        model: not changed; all of the copy's weights are trained.
        task: train and validation splits are read, test is not.
        epochs: the most there will be; 0 only reads the accuracy.
        lr: highest learning rate, > 0.
        teacher: its logits on the images as they are, before augmentation, are half of the loss (KL divergence at
            temperature 2). A network, or what `logits_of` gave for it; None is plain cross-entropy. A student that is
            better on the validation split than the teacher on the training split learns from the labels alone.
        seed: of the order of samples, of augmentation and of dropout.
        batch_size: samples a step.
        patience: epochs without a better validation accuracy before it stops.
        on_epoch: called with (epoch from 1, validation accuracy, mean training loss).
        stop_after_s: wall time after which no further step is taken; the learning rate falls in time for it.
    Raises:
        ConfigError: a setting is out of range.
        TrainingError: the loss is not finite.
    Source: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    if epochs < 0 or not lr > 0 or batch_size < 1 or patience < 1:
        raise ConfigError(
            "fine_tune needs epochs >= 0, lr > 0, batch_size >= 1 and patience >= 1, "
            f"got {epochs}, {lr}, {batch_size} and {patience}"
        )
    start = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student = copy.deepcopy(model).requires_grad_(True)
    student = student.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    guide = logits_of(teacher, task) if isinstance(teacher, nn.Module) else teacher
    initial = best = accuracy(student, task.validation, task.preprocessing)
    weights, waited, epoch = _snapshot(student), 0, 0
    trainer = _Trainer(student, guide, task, lr, batch_size, epochs, start, stop_after_s, seed)
    with _seeded(seed, device):
        for epoch in range(1, epochs + 1):
            loss = trainer.epoch()
            reached = accuracy(student, task.validation, task.preprocessing)
            trainer.outgrow(reached)
            waited = 0 if reached > best else waited + 1
            if reached > best:
                best, weights = reached, _snapshot(student)
            if on_epoch is not None:
                on_epoch(epoch, reached, loss)
            if waited >= patience or trainer.out_of_time:
                break
    student.load_state_dict(weights)
    return FineTuneResult(student.cpu().eval(), best, initial, epoch, time.perf_counter() - start)


def logits_of(teacher: nn.Module, task: Task, batch_size: int | None = None) -> Tensor:
    """Logits of a network for the training split, `n x n_outputs`, in the split's order, on the CPU.

    Computed once, they serve every model that the network teaches.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    guide = copy.deepcopy(teacher).to(device).eval()
    with torch.inference_mode():
        walk = batches(task.train, task.preprocessing, batch_size or batch_for(task.train), device=device)
        return torch.cat([guide(inputs).float().cpu() for inputs, _ in walk])


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator (dropout reads it) and put it back afterwards."""
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@dataclass
class _Trainer:
    """The optimiser and its schedule over all epochs."""

    student: nn.Module
    teacher: Tensor | None
    task: Task
    lr: float
    batch_size: int
    epochs: int
    start: float
    stop_after_s: float | None
    seed: int

    def __post_init__(self) -> None:
        self.device = device_of(self.student)
        self.generator = torch.Generator().manual_seed(self.seed)
        self.steps, self.total = 0, max(1, self.epochs * max(1, len(self.task.train) // self.batch_size))
        decayed = [p for p in self.student.parameters() if p.ndim > 1]
        plain = [p for p in self.student.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=self.lr)
        if self.teacher is not None:  # its accuracy on the training split
            labels = torch.from_numpy(self.task.train.labels)
            self.taught = float((self.teacher.argmax(1).cpu() == labels).float().mean())

    def outgrow(self, reached: float) -> None:
        """Drop a teacher that `reached` surpasses: after little training it would only hold back."""
        if self.teacher is not None and reached > self.taught:
            self.teacher = None

    @property
    def out_of_time(self) -> bool:
        return self.stop_after_s is not None and time.perf_counter() - self.start >= self.stop_after_s

    def epoch(self) -> float:
        """One walk through the training split; the mean loss."""
        self.student.train()
        losses = []
        # Its labels are places in the split, so that a sample's label and its teacher's logits are found together.
        numbered = Split(self.task.train.inputs, np.arange(len(self.task.train)))
        walk = batches(
            numbered,
            self.task.preprocessing,
            self.batch_size,
            shuffle=True,
            generator=self.generator,
            device=self.device,
        )
        for inputs, places in walk:
            losses.append(self._step(augment(inputs, self.task.augmentation, self.generator), places.cpu()))
            if self.out_of_time:
                break
        return sum(losses) / len(losses)

    def _step(self, inputs: Tensor, places: Tensor) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr * 0.5 * (1 + math.cos(math.pi * self._progress()))
        with self._autocast():
            loss = self._loss(inputs, places)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} after {self.steps} steps at learning rate {self.lr:g}; try a lower learning rate"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.steps += 1
        return value

    def _progress(self) -> float:
        """Share of the training that is over, by steps or by time, whichever is more."""
        spent = 0.0 if self.stop_after_s is None else (time.perf_counter() - self.start) / max(self.stop_after_s, 1e-9)
        return min(1.0, max(self.steps / self.total, spent))

    def _loss(self, inputs: Tensor, places: Tensor) -> Tensor:
        labels = torch.from_numpy(self.task.train.labels[places.numpy()]).to(self.device)
        logits = self.student(inputs).float()
        hard = functional.cross_entropy(logits, labels)
        if self.teacher is None:
            return hard
        target = functional.log_softmax(self.teacher[places].to(self.device) / TEMPERATURE, dim=1)
        found = functional.log_softmax(logits / TEMPERATURE, dim=1)
        soft = functional.kl_div(found, target, reduction="batchmean", log_target=True) * TEMPERATURE**2
        return (1 - TEACHER_SHARE) * hard + TEACHER_SHARE * soft

    def _autocast(self) -> AbstractContextManager[object]:
        if self.device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()
