"""How much training a search does: by the clock where a time is given, else by the size of networks and data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwnas.core.candidate import Candidate
from hwnas.core.task import Task
from hwnas.elastic.train import TrainSettings
from hwnas.search.config import SearchConfig
from hwnas.search.joint import JointSpace

__all__ = ["Clock", "Effort", "plan_effort"]

# Without --time: multiply-adds of supernet training (forward and backward), about two minutes of two laptop cores.
TRAIN_MACS = 3e12
MAX_EPOCHS, MIN_EPOCHS = 30, 4
FINISH_EPOCHS = 3
# Multiply-adds of reading the accuracy of one candidate of middle size.
EVALUATE_MACS = 60e9
# With --time: which share of what is left after calibration goes to training the supernet, then to the search.
TRAIN_SHARE, SEARCH_SHARE = 0.55, 0.5
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

    @property
    def left_s(self) -> float | None:
        """Seconds left, not below 0; None: no limit."""
        return None if self.end_s is None else max(0.0, self.end_s - time.monotonic())

    def share(self, share: float) -> float | None:
        """A share of the seconds left; None: no limit."""
        left_s = self.left_s
        return None if left_s is None else left_s * share


@dataclass(frozen=True, slots=True)
class Effort:
    """Effort of each phase.

    Attributes:
        training: of the supernet.
        epochs_alone: of a candidate of a plain space.
        finish_epochs: of fine-tuning, at most.
        validation_limit: validation samples read per candidate.
    """

    training: TrainSettings
    epochs_alone: int
    finish_epochs: int
    validation_limit: int


def plan_effort(config: SearchConfig, joint: JointSpace, task: Task, clock: Clock) -> Effort:
    """Decide the effort; it depends on the settings and sizes alone, unless a time was given."""
    rng = np.random.default_rng(config.seed)
    middle = float(np.mean([joint.operations(joint.sample(rng)).macs for _ in range(20)]))
    ends = [joint.operations(Candidate(a)).macs for a in (joint.space.smallest(), joint.space.largest())]
    timed = clock.end_s is not None
    batch = 32 if len(task.train) < 4000 else 128
    settings = _training(task, sum(ends) + 2 * middle, timed=timed, seed=config.seed, batch=batch)
    if timed and joint.space.weight_shared:
        settings = _with_time(settings, clock.share(TRAIN_SHARE))
    limit = int(np.clip(EVALUATE_MACS / max(middle, 1.0), 200, 5000))
    return Effort(
        training=settings,
        epochs_alone=int(np.clip(TRAIN_MACS / 100 / (3 * len(task.train) * max(middle, 1.0)), 2, 12)),
        finish_epochs=60 if timed else FINISH_EPOCHS,
        validation_limit=min(limit, len(task.validation)),
    )


def _training(task: Task, macs_per_image: float, *, timed: bool, seed: int, batch: int) -> TrainSettings:
    settings = TrainSettings(epochs=200, seed=seed, batch_size=batch, learning_rate=0.1)
    if timed:
        return settings
    epoch_macs = 3 * len(task.train) * macs_per_image
    if min(task.input_shape[1:]) < 32 or epoch_macs < TRAIN_MACS / 10:
        return replace(settings, epochs=int(np.clip(TRAIN_MACS / epoch_macs, MIN_EPOCHS, MAX_EPOCHS)))
    # Most epochs on small images, then fewer on larger ones: each size gets about a third of the work.
    shrink = tuple((int(np.clip(TRAIN_MACS / 3 / epoch_macs * f * f, 2, MAX_EPOCHS)), f) for f in (4, 2))
    full = int(np.clip(TRAIN_MACS / 3 / epoch_macs, 1, MAX_EPOCHS))
    return replace(settings, epochs=full + sum(epochs for epochs, _ in shrink), shrink=shrink)


def _with_time(settings: TrainSettings, time_s: float | None) -> TrainSettings:
    return replace(settings, time_s=None if time_s is None else round(time_s, 1))


def finish_seconds(clock: Clock, wanted: int, done: Sequence[object]) -> float | None:
    """Fine-tuning seconds for the next model, so that `wanted` models end in time; None: no limit."""
    left_s = clock.left_s
    if left_s is None:
        return None
    models = max(1, wanted - len(done))
    return max(0.0, left_s / models - MEASURE_SHARE_S)
