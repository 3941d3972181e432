"""What all image tasks share: splitting, fitting images to an input shape, statistics, fingerprint."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.core.task import Preprocessing, Split, Task, check_data
from hwnas.errors import ConfigError, DataError

__all__ = [
    *("MAX_DATA_BYTES", "SPLITS", "check_input_shape", "check_memory", "fingerprint_of", "fit_images", "make_task"),
    "stratified_order",
]

SPLITS = ("train", "validation", "test")
MAX_DATA_BYTES = 8 * 1024**3
CHUNK = 2048  # images that are converted at once

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Shape = tuple[int, int, int]

# ITU-R BT.601, as Pillow converts to "L".
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def stratified_order(labels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of all samples in which any piece holds each class in proportion, to within one sample.

    Args:
        labels: `n`.
    Returns:
        `n` indices; cut it where the splits should end. Within a piece the classes are mixed.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(place, kind="stable")


def check_input_shape(input_shape: tuple[int, ...]) -> Shape:
    """Return the shape if it is one of an image.

    Raises:
        ConfigError: it is not (1 or 3, height, width).
    """
    if len(input_shape) != 3 or input_shape[0] not in (1, 3) or min(input_shape) < 1:
        raise ConfigError(f"input_shape must be (1 or 3, height, width), got {input_shape}")
    return input_shape[0], input_shape[1], input_shape[2]


def check_memory(count: int, input_shape: Shape) -> None:
    """Raise DataError if `count` images of that shape do not fit 8 GiB."""
    needed = count * math.prod(input_shape)
    if needed > MAX_DATA_BYTES:
        raise DataError(
            f"{count} images of {'x'.join(map(str, input_shape))} need {needed / 1024**3:.1f} GiB, more than "
            f"{MAX_DATA_BYTES / 1024**3:.0f} GiB; use fewer images or a space with a smaller input"
        )


def fit_images(images: Images, input_shape: Shape) -> Images:
    """Resize (bilinear, antialiased) and convert grey <-> RGB; images that fit already are returned as they are.

    Args:
        images: `n x channels x height x width`, 1 or 3 channels.
    """
    if images.shape[1:] == input_shape:
        return images
    check_memory(len(images), input_shape)
    fitted = np.empty((len(images), *input_shape), dtype=np.uint8)
    for start in range(0, len(images), CHUNK):
        piece = images[start : start + CHUNK]
        fitted[start : start + CHUNK] = _resize(_recolour(piece, input_shape[0]), input_shape[1:])
    return fitted


def make_task(
    *,
    name: str,
    class_names: Sequence[str],
    splits: Mapping[str, tuple[Images, Labels]],
    input_shape: tuple[int, ...],
    augmentation: str,
    source: str,
) -> Task:
    """Fit the images of all splits to `input_shape` and put the task together.

    Args:
        splits: (images, labels) for each of `SPLITS`.
    Raises:
        ConfigError: `input_shape` is not one of an image.
        DataError: a split is missing or empty, its images are not bytes of 1 or 3 channels or do not fit the memory, or
            its labels are not from 0 to below the number of classes.
    """
    shape = check_input_shape(input_shape)
    if missing := [key for key in SPLITS if key not in splits]:
        raise DataError(f"task {name!r} needs the splits {', '.join(SPLITS)}; missing: {', '.join(missing)}")
    for key in SPLITS:
        _check_images(splits[key][0], f"the {key} split of task {name!r}")
    fitted = {key: Split(fit_images(splits[key][0], shape), _whole(splits[key][1])) for key in SPLITS}
    mean, std = _statistics(fitted["train"].inputs)
    task = Task(
        name=name,
        input_shape=shape,
        n_outputs=len(class_names),
        class_names=tuple(class_names),
        preprocessing=Preprocessing(size=shape[1:], channels=shape[0], mean=mean, std=std),
        augmentation=augmentation,
        source=source,
        fingerprint=fingerprint_of(fitted, class_names),
        **fitted,
    )
    check_data(task)
    return task


def _check_images(images: object, where: str) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        got = f"{images.dtype}" if isinstance(images, np.ndarray) else type(images).__name__
        raise DataError(
            f"{where} must be images of bytes from 0 to 255, a numpy array of uint8, got {got}; convert them, such as "
            "(255 * images).round().astype(numpy.uint8) from 0 to 1"
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"{where} must be images of shape (n, channels, height, width) with 1 or 3 channels, got {images.shape}"
        )


def _whole(labels: Any) -> Labels:
    """Labels as int64, where they are whole numbers of another width; `check_data` refuses the rest."""
    found = np.asarray(labels)
    return found.astype(np.int64) if np.issubdtype(found.dtype, np.integer) else found


def _recolour(images: Images, channels: int) -> Images:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    grey = np.tensordot(GREY, images.astype(np.float32), axes=(0, 1))[:, None]
    return np.rint(grey).astype(np.uint8)


def _resize(images: Images, size: tuple[int, int]) -> Images:
    if images.shape[2:] == size:
        return images
    import torch
    from torch.nn import functional

    raw = torch.from_numpy(np.ascontiguousarray(images)).float()
    resized = functional.interpolate(raw, size=size, mode="bilinear", align_corners=False, antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8).numpy()


def _statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Exact mean and standard deviation of each channel on the 0-1 scale, from counts of the 256 values."""
    channels = images.shape[1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(images), CHUNK):
        piece = images[start : start + CHUNK]
        for channel in range(channels):
            counts[channel] += np.bincount(piece[:, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ values
    # A channel of one value only would divide by 0; one step of 255 keeps it finite.
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 0.0)).clip(min=1 / 255)
    return tuple(map(float, mean)), tuple(map(float, std))


def fingerprint_of(splits: Mapping[str, Split], class_names: Sequence[str]) -> str:
    """SHA-256 of all samples, labels and names (and of what else is among the names)."""
    digest = hashlib.sha256(repr(list(class_names)).encode())
    for key in SPLITS:
        split = splits[key]
        digest.update(f"{key} {split.inputs.shape}".encode())
        digest.update(np.ascontiguousarray(split.inputs).data)
        digest.update(np.ascontiguousarray(split.labels).data)
    return digest.hexdigest()
