"""A task: labelled data in three splits, and how a raw input becomes a network's input."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError

__all__ = ["Preprocessing", "Split", "Task", "TaskLike", "TaskShape"]


class TaskLike(Protocol):
    """All that a search space must know of a task."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of a network's input, without the batch."""

    @property
    def n_outputs(self) -> int:
        """Number of logits."""


@dataclass(frozen=True, slots=True)
class TaskShape:
    """The shapes of a task without its data, for tracing and for latency."""

    input_shape: tuple[int, ...]
    n_outputs: int


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs and labels of one split.

    Attributes:
        inputs: `n x channels x height x width`, uint8 (0-255) for images.
        labels: `n`, int64, from 0.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise DataError(f"a split has {len(self.inputs)} inputs but {len(self.labels)} labels")
        if len(self.inputs) == 0:
            raise DataError("a split is empty; give each class more images")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """raw (0-255) -> resize to `size` -> (raw / 255 - mean) / std, per channel; layout NCHW.

    Attributes:
        size: (height, width) that images are resized to, bilinear.
        channels: 1 (grey) or 3 (RGB); grey images are repeated where 3 are asked for.
        mean, std: per channel, on the 0-1 scale.
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise a batch `n x channels x height x width` that already has the right size."""
        mean = np.asarray(self.mean, dtype=np.float32)[:, None, None]
        std = np.asarray(self.std, dtype=np.float32)[:, None, None]
        return np.asarray((inputs.astype(np.float32) / np.float32(255) - mean) / std, dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {
            "layout": "NCHW",
            "size": list(self.size),
            "channels": self.channels,
            "resize": "bilinear",
            "scale": 1 / 255,
            "mean": list(self.mean),
            "std": list(self.std),
        }


@dataclass(frozen=True)
class Task:
    """Labelled data. A search sees `train` and `validation`; `test` is read once, for the finished models.

    Attributes:
        name: how the task is named on the command line.
        input_shape: (channels, height, width) of a network's input.
        n_outputs: number of classes.
        class_names: one name a class.
        train, validation, test: the splits; no sample is in two of them.
        preprocessing: how a raw input becomes a network's input.
        augmentation: "none", "shift" (random shifts), or "flip-shift" (and mirror images), used in training only.
        source: where the data came from, for the manifest.
        fingerprint: names the content of the data, so that a resumed search can tell that it changed.
    """

    name: str
    input_shape: tuple[int, ...]
    n_outputs: int
    class_names: tuple[str, ...]
    train: Split = field(repr=False)
    validation: Split = field(repr=False)
    test: Split = field(repr=False)
    preprocessing: Preprocessing = field(repr=False)
    augmentation: str = "none"
    source: str = ""
    fingerprint: str = ""

    def shrunk(self, factor: int) -> Task:
        """The same task on images whose sides are divided by `factor` (the mean over squares of pixels).

        Raises:
            DataError: a side is not a multiple of `factor`.
        """
        if factor == 1:
            return self
        channels, height, width = self.input_shape
        if height % factor or width % factor:
            raise DataError(f"images of {height}x{width} cannot be divided by {factor}; choose a factor of both sides")
        return replace(
            self,
            input_shape=(channels, height // factor, width // factor),
            train=_shrink(self.train, factor),
            validation=_shrink(self.validation, factor),
            test=_shrink(self.test, factor),
        )


def _shrink(split: Split, factor: int) -> Split:
    count, channels, height, width = split.inputs.shape
    squares = split.inputs.reshape(count, channels, height // factor, factor, width // factor, factor)
    means = squares.mean(axis=(3, 5), dtype=np.float32)
    small = np.rint(means) if split.inputs.dtype == np.uint8 else means
    return Split(small.astype(split.inputs.dtype), split.labels)
