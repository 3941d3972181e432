"""Handwritten digits that come with scikit-learn: no download, seconds to train."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.core.task import Task
from hwnas.errors import DataError
from hwnas.tasks.build import make_task, stratified_order

__all__ = ["load"]

SPLIT_SEED = 1998  # the split is part of the task, so that every search reads the same test images
N_TRAIN, N_VALIDATION, N_TEST = 897, 300, 600


def load(data: Path | None = None, *, input_shape: tuple[int, ...] | None = None, seed: int = 0) -> Task:
    """1,797 grey images of 8 x 8, ten classes: train 897, validation 300, test 600, stratified, always the same.

    Args:
        data: must be None; the images are built in.
        input_shape: (1 or 3, height, width) to resize to; None is (1, 8, 8).
        seed: not used: the split is the same for all seeds, so that searches can be compared.
    Raises:
        DataError: `data` is given.
        ConfigError: `input_shape` is not one of an image.
    Source: scikit-learn `load_digits`: Alpaydin, Kaynak, UCI Optical Recognition of Handwritten Digits, 1998, its
        test part; values 0-16 are scaled to 0-255.
    """
    if data is not None:
        raise DataError(f"task 'digits' is built in and takes no --data, got {data}; for own images use --task images")
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.rint(raw.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = raw.target.astype(np.int64)
    order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
    pieces = np.split(order, [N_TRAIN, N_TRAIN + N_VALIDATION])
    return make_task(
        name="digits",
        class_names=[str(digit) for digit in range(10)],
        splits={k: (images[p], labels[p]) for k, p in zip(("train", "validation", "test"), pieces, strict=True)},
        input_shape=input_shape or (1, 8, 8),
        augmentation="shift",
        source="scikit-learn load_digits (UCI Optical Recognition of Handwritten Digits, test part)",
    )
