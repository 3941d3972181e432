"""How much training a search does: by the clock where a time is given, else by the size of networks and data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from hwnas.core.candidate import Candidate
from hwnas.core.ops import OpList
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.data import batch_for
from hwnas.elastic.train import TrainSettings
from hwnas.search.config import SearchConfig
from hwnas.search.joint import JointSpace

__all__ = [
    "Clock",
    "Effort",
    "closer_share",
    "finish_epochs",
    "finish_factors",
    "finish_seconds",
    "finish_shrink",
    "plan_effort",
    "search_share",
]

# Without --time: multiply-adds of supernet training (forward and backward), about two minutes of two laptop cores.
TRAIN_MACS = 4.5e12
MAX_EPOCHS, MIN_EPOCHS = 30, 4
FINISH_MACS = 0.3e12  # of one model
MAX_FINISH_EPOCHS, MIN_FINISH_EPOCHS = 15, 2
ALONE_MACS = TRAIN_MACS / 200  # of the first training of a candidate of a plain space
# Multiply-adds of reading the accuracy of one candidate of middle size.
EVALUATE_MACS = 12e9
# Images of a space of one input size are shrunk by no more than MAX_SHRINK, and to no fewer pixels a side than LEAST_PX
# (LEAST_FINISHED_PX in finishing, whose weights are deployed on whole images).
MAX_SHRINK, LEAST_PX, LEAST_FINISHED_PX = 7, 8, 32
LEAST_HALVED_PX = 16  # a side, after it was halved for the first part of a timed training
SMALL_PX = 64  # images up to this side stay whole where a time is given
# With --time: which share of what is left after calibration goes to training the supernet, then to the search.
# Searching for longer than this gained nothing on CIFAR-10, where finishing was short of time.
TRAIN_SHARE, SEARCH_SHARE = 0.45, 0.12
PLAIN_SEARCH_SHARE = 0.5  # of plain spaces, where the search is the training
# What is left after the search goes to evaluating the best candidates closer, before they are finished.
CLOSER_SHARE, PLAIN_CLOSER_SHARE = 0.1, 0.6
MOST_TEACH_EVERY = 4  # steps of a timed training, of which the largest network takes part in one
SMALL_SHARE = 0.6  # of a timed training of the supernet: on images of half the side, if that is enough for the space
MEASURE_SHARE_S = 4.0  # kept for each finished model: export, reading its accuracy, measuring it


@dataclass(frozen=True, slots=True)
class Clock:
    """The time limit of a session.

    Attributes:
        end_s: on the monotonic clock; None: no limit.
    """

    end_s: float | None

    @classmethod
    def starting_now(cls, limit_s: float | None) -> Clock:
        """A clock that ends `limit_s` from now."""
        return cls(None if limit_s is None else time.monotonic() + limit_s)

    @classmethod
    def starting(cls, limit_s: float | None, since_s: float | None) -> Clock:
        """A clock that ends `limit_s` after `since_s` (on the monotonic clock; None: now)."""
        start_s = time.monotonic() if since_s is None else since_s
        return cls(None if limit_s is None else start_s + limit_s)

    @property
    def left_s(self) -> float | None:
        """Seconds left, not below 0; None: no limit."""
        return None if self.end_s is None else max(0.0, self.end_s - time.monotonic())

    def share(self, share: float) -> float | None:
        """A share of the seconds left; None: no limit."""
        left_s = self.left_s
        return None if left_s is None else left_s * share


def search_share(space: SearchSpace) -> float:
    """Of the time that is left after training: for the search."""
    return SEARCH_SHARE if space.weight_shared else PLAIN_SEARCH_SHARE


def closer_share(space: SearchSpace) -> float:
    """Of the time that is left after the search: for evaluating the best candidates closer."""
    return CLOSER_SHARE if space.weight_shared else PLAIN_CLOSER_SHARE


@dataclass(frozen=True, slots=True)
class Effort:
    """Effort of each phase.

    Attributes:
        training: of the supernet.
        epochs_alone: of a candidate of a plain space, before the best are trained longer.
        finish_macs: multiply-adds of fine-tuning one model, forward and backward; None: as the time allows.
        validation_limit: validation samples read per candidate.
        shrink: the supernet is trained, and candidates are compared, on images whose side is divided by it; finishing
            sees whole images where they fit its effort (see finish_shrink).
        batch_macs: multiply-adds of one training batch of the largest network.
    """

    training: TrainSettings
    epochs_alone: int
    finish_macs: float | None
    validation_limit: int
    shrink: int = 1
    batch_macs: float = 0.0


def plan_effort(config: SearchConfig, joint: JointSpace, task: Task, clock: Clock) -> Effort:
    """Decide the effort; it depends on the settings and sizes alone, unless a time was given."""
    rng = np.random.default_rng(config.seed)
    middle = float(np.mean([joint.operations(joint.sample(rng)).macs for _ in range(20)]))
    smallest, largest = (joint.operations(Candidate(a)) for a in (joint.space.smallest(), joint.space.largest()))
    ends = smallest.macs + largest.macs
    timed = clock.end_s is not None
    # A space of one input size cannot make its images smaller itself, and its networks are large for little effort.
    fixed = joint.space.weight_shared and joint.space.input_shape is not None
    large = 3 * len(task.train) * (ends + middle) > TRAIN_MACS / 10
    shrink = max(_factors(task, largest)) if fixed and large and not (timed and _time_is_enough(task)) else 1
    settings = _training(len(task.train), ends / shrink**2, middle / shrink**2, timed=timed, seed=config.seed)
    if task.n_ids is not None:  # embeddings hardly learn by plain gradient descent
        settings = replace(settings, optimizer="adamw", learning_rate=2e-3, weight_decay=0.01)
    settings = replace(settings, batch_size=min(settings.batch_size, max(32, batch_for(task.train) * shrink**2)))
    if timed and joint.space.weight_shared:
        half = 2 * shrink in _factors(task, largest) and min(task.sides) >= 2 * LEAST_HALVED_PX * shrink
        # The largest network may cost half as much as all others together; beyond, it sits steps out. On CIFAR-10
        # subnets were a third more accurate after the same time than with the largest in every step.
        others = max(1.0, smallest.macs + settings.n_random * middle)
        settings = replace(
            _with_time(settings, clock.share(TRAIN_SHARE)),
            small_share=SMALL_SHARE if half else 0.0,
            teach_every=int(np.clip(round(2 * largest.macs / others), 1, MOST_TEACH_EVERY)),
        )
    limit = int(np.clip(EVALUATE_MACS * shrink**2 / max(middle, 1.0), 200, 5000))
    return Effort(
        training=settings,
        epochs_alone=int(np.clip(ALONE_MACS / (3 * len(task.train) * max(middle, 1.0)), 1, 6)),
        finish_macs=None if timed else FINISH_MACS,
        validation_limit=min(limit, len(task.validation)),
        shrink=shrink,
        batch_macs=ends / shrink**2 * settings.batch_size,
    )


def _factors(task: Task, largest: OpList) -> list[int]:
    """By which numbers the sides of the images can be divided, so that the last feature map keeps a pixel."""
    sides = task.sides
    if not sides:
        return [1]
    maps = [op.inputs[0] for op in largest if op.kind == "reduce" and len(op.inputs[0]) == 3]
    least = max(LEAST_PX, min(sides) // min(maps[-1][1:]) if maps else LEAST_PX)
    return [f for f in range(1, MAX_SHRINK + 1) if f == 1 or (_divides(f, sides) and min(sides) // f >= least)]


def _divides(factor: int, sides: Sequence[int]) -> bool:
    return all(side % factor == 0 for side in sides)


def _time_is_enough(task: Task) -> bool:
    """Whether a given time is spent on whole inputs: small images, any on a GPU, and all that is no image."""
    return not task.sides or min(task.sides) <= SMALL_PX or torch.cuda.is_available()


def _training(n_train: int, ends: float, middle: float, *, timed: bool, seed: int) -> TrainSettings:
    batch = 64 if n_train < 4000 else 128
    settings = TrainSettings(epochs=200, seed=seed, batch_size=batch, learning_rate=0.1)
    if timed:
        return settings
    for n_random in (2, 1):  # large networks and small effort: rather more epochs than more subnets a step
        epochs = int(TRAIN_MACS / (3 * n_train * (ends + n_random * middle)))
        if epochs >= 10:
            break
    return replace(settings, n_random=n_random, epochs=int(np.clip(epochs, MIN_EPOCHS, MAX_EPOCHS)))


def _with_time(settings: TrainSettings, time_s: float | None) -> TrainSettings:
    return replace(settings, time_s=None if time_s is None else round(time_s, 1))


def finish_factors(effort: Effort, task: Task) -> list[int]:
    """By which numbers finishing may divide the sides of images, ascending from 1; only large images are shrunk."""
    sides = task.sides
    least = LEAST_FINISHED_PX
    if not sides:
        return [1]
    return [1, *[f for f in range(2, effort.shrink + 1) if _divides(f, sides) and min(sides) // f >= least]]


def finish_shrink(effort: Effort, macs: int, task: Task) -> int:
    """By how much images are shrunk for fine-tuning a network of `macs` multiply-adds on a whole image.

    As little as the effort allows: 1, if it allows the fewest epochs on whole images, or if a time is given.
    """
    factors = finish_factors(effort, task)
    if effort.finish_macs is None:
        return 1
    epochs = effort.finish_macs / (3 * len(task.train) * max(macs, 1))  # on whole images
    return next((factor for factor in factors if epochs * factor**2 >= MIN_FINISH_EPOCHS), factors[-1])


def finish_epochs(effort: Effort, macs: int, n_train: int, shrink: int = 1) -> int:
    """Epochs of fine-tuning a network of `macs` multiply-adds a whole image: small ones learn longer for the same work.

    Args:
        shrink: see finish_shrink.
    """
    if effort.finish_macs is None:
        return 60
    epochs = effort.finish_macs * shrink**2 / (3 * n_train * max(macs, 1))
    return int(np.clip(epochs, MIN_FINISH_EPOCHS, MAX_FINISH_EPOCHS))


def finish_seconds(clock: Clock, macs: Sequence[int]) -> float | None:
    """Fine-tuning seconds for the next model, so that all that are still wanted end in time; None: no limit.

    Large models get more seconds, though fewer epochs: seconds grow with the root of the multiply-adds.

    Args:
        macs: multiply-adds of the models that are still to be finished, at least one, the next one first.
    """
    left_s = clock.left_s
    if left_s is None:
        return None
    roots = np.sqrt(np.maximum(macs, 1))
    return max(0.0, (left_s - MEASURE_SHARE_S * len(roots)) * float(roots[0] / roots.sum()))
