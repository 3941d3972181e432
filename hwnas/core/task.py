"""A task: labelled data in three splits, and how a raw input becomes a network's input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError

__all__ = ["InputPreprocessing", "Preprocessing", "Split", "Task", "TaskLike", "TaskShape", "check_data", "suits"]

Load = TypeVar("Load", bound=Callable[..., Any])


def suits(space: str) -> Callable[[Load], Load]:
    """Mark the `load` of a task whose inputs are no images with the space that it is searched in, if none is named."""

    def mark(load: Load) -> Load:
        load.default_space = space  # type: ignore[attr-defined]
        return load

    return mark


class TaskLike(Protocol):
    """All that a search space must know of a task."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of a network's input, without the batch: (channels, height, width), (1, samples), or (tokens,)."""

    @property
    def n_outputs(self) -> int:
        """Number of logits."""


@dataclass(frozen=True, slots=True)
class TaskShape:
    """The shapes of a task without its data, for tracing and for latency.

    Attributes:
        input_shape: without the batch: (channels, height, width), (1, samples), or (tokens,).
        n_outputs: number of logits.
        n_ids: the input is int64 ids from 0 to `n_ids` - 1; None: it is float32.
        sample_rate: of a waveform, in Hz; None: it is none.
    """

    input_shape: tuple[int, ...]
    n_outputs: int
    n_ids: int | None = None
    sample_rate: int | None = None

    @classmethod
    def of(cls, task: TaskLike) -> TaskShape:
        """The shapes of a task; what a task of two attributes leaves open is None."""
        n_ids, sample_rate = getattr(task, "n_ids", None), getattr(task, "sample_rate", None)
        return cls(tuple(task.input_shape), task.n_outputs, n_ids, sample_rate)

    @property
    def dtype(self) -> str:
        """Type of the input, as numpy and torch name it."""
        return "float32" if self.n_ids is None else "int64"


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs and labels of one split.

    Attributes:
        inputs: `n x channels x height x width`, uint8 (0-255), for images; `n x 1 x samples`, int16, for waveforms;
            `n x tokens`, int64, for texts.
        labels: `n`, int64, from 0.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise DataError(f"a split has {len(self.inputs)} inputs but {len(self.labels)} labels")
        if len(self.inputs) == 0:
            raise DataError("a split is empty; give each class more samples")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def guessing(self) -> float:
        """Accuracy (fraction 0-1) of always naming the class that most samples have."""
        return float(np.bincount(self.labels).max() / len(self))


class InputPreprocessing(Protocol):
    """How raw inputs become a network's input; a colleague must be able to do it from `to_json` alone."""

    def __call__(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """A batch of raw inputs, as a split holds them, to float32 values or int64 ids of the same shape."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Of images: raw (0-255) -> resize to `size` -> (raw / 255 - mean) / std, per channel; layout NCHW.

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
        input_shape: of a network's input: (channels, height, width), (1, samples), or (tokens,).
        n_outputs: number of classes.
        class_names: one name a class.
        train, validation, test: the splits; no sample is in two of them.
        preprocessing: how a raw input becomes a network's input.
        augmentation: one of `hwnas.elastic.augment.AUGMENTATIONS`, used in training only.
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
    preprocessing: InputPreprocessing = field(repr=False)
    augmentation: str = "none"
    source: str = ""
    fingerprint: str = ""

    @property
    def n_ids(self) -> int | None:
        """How many ids there are, where the input is ids; else None."""
        return getattr(self.preprocessing, "n_ids", None)

    @property
    def sample_rate(self) -> int | None:
        """Of a waveform, in Hz; None: the input is none."""
        return getattr(self.preprocessing, "sample_rate", None)

    @property
    def sides(self) -> tuple[int, ...]:
        """(height, width) of images; empty: the input is no image, and cannot be made smaller."""
        return tuple(self.input_shape[1:]) if len(self.input_shape) == 3 else ()

    def shrunk(self, factor: int) -> Task:
        """The same task on images whose sides are divided by `factor` (the mean over squares of pixels).

        Raises:
            DataError: a side is not a multiple of `factor`, or the input is no image.
        """
        if factor == 1:
            return self
        if not self.sides:
            raise DataError(f"task {self.name!r} has inputs of {self.input_shape}, only images can be divided")
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


def check_data(task: Task) -> None:
    """What a task of somebody's own must keep, whichever way it was made.

    Raises:
        DataError: a split has inputs of another shape than the task's, or ones that are not finite, or labels that are
            not whole numbers from 0 to below `n_outputs`; or there are no two classes, or not a name for each.
    """
    if task.n_outputs < 2 or len(task.class_names) != task.n_outputs:
        raise DataError(
            f"task {task.name!r} must have two classes or more and a name for each, got {task.n_outputs} classes and "
            f"{len(task.class_names)} names"
        )
    for name in ("train", "validation", "test"):
        split, where = getattr(task, name), f"the {name} split of task {task.name!r}"
        if split.inputs.shape[1:] != tuple(task.input_shape):
            raise DataError(
                f"{where} has inputs of shape {split.inputs.shape[1:]}, the task says {tuple(task.input_shape)}; "
                "make them alike"
            )
        if np.issubdtype(split.inputs.dtype, np.floating) and not np.isfinite(split.inputs).all():
            first = int(np.argmin(np.isfinite(split.inputs).reshape(len(split), -1).all(axis=1)))
            raise DataError(f"sample {first} of {where} is not finite (NaN, infinity); leave it out")
        labels = split.labels
        if labels.dtype != np.int64 or labels.ndim != 1 or not 0 <= labels.min() <= labels.max() < task.n_outputs:
            got = f"{labels.min()} to {labels.max()}" if np.issubdtype(labels.dtype, np.integer) else "others"
            raise DataError(
                f"{where} must have a label for each sample, int64, from 0 to {task.n_outputs - 1}; got {got} "
                f"({labels.dtype}, shape {labels.shape})"
            )


def _shrink(split: Split, factor: int) -> Split:
    count, channels, height, width = split.inputs.shape
    squares = split.inputs.reshape(count, channels, height // factor, factor, width // factor, factor)
    means = squares.mean(axis=(3, 5), dtype=np.float32)
    small = np.rint(means) if split.inputs.dtype == np.uint8 else means
    return Split(small.astype(split.inputs.dtype), split.labels)
