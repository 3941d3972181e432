"""The user's own labelled images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from hwnas.core.task import Task
from hwnas.errors import DataError
from hwnas.tasks.build import SPLITS, check_input_shape, check_memory, make_task
from hwnas.tasks.folders import LAYOUTS, find_pictures
from hwnas.tasks.pictures import Picture, Probe, decode_all, probe

__all__ = ["SIDES", "load"]

SIDES = (32, 64, 96, 128, 160, 192, 224)  # what the default input is rounded to, in pixels
SHARE = 0.15  # of each class, for validation and for test, where the data has no such split
LEAST = 3  # images of a class: one for each split
SPLIT_SEED = 70_15_15  # the split depends on the data only, so that every search reads the same images


def load(data: Path | None = None, *, input_shape: tuple[int, ...] | None = None, seed: int = 0) -> Task:
    """Images in a folder per class, in train/ val/ test/ folders of such, or in parquet files.

    A split that the data does not have is taken from the training images: 15 % of each class, at least one image.
    All images are decoded now, so that a broken one is found before a search begins.

    Args:
        data: a folder or a parquet file.
        input_shape: (1 or 3, height, width) to resize to (bilinear; the aspect ratio is not kept). None: the median
            shorter side, rounded to one of `SIDES`; one channel if every image is grey, else three.
        seed: not used: the split is the same for all seeds, so that searches can be compared.
    Raises:
        DataError: the data is missing, empty, arranged in no known way, or an image or label is broken.
        ConfigError: `input_shape` is not one of an image.
    """
    if data is None:
        raise DataError(f"task 'images' needs --data PATH; {LAYOUTS}")
    found = find_pictures(data)
    names = _class_names(data, found)
    probes = [probe(picture) for pictures in found.values() for picture in pictures]
    shape = check_input_shape(input_shape) if input_shape else _default_shape(probes)
    check_memory(len(probes), shape)
    splits = _complete(found)
    index = {name: number for number, name in enumerate(names)}
    arrays = {
        split: (decode_all(splits[split], shape), np.array([index[p.label] for p in splits[split]], dtype=np.int64))
        for split in SPLITS
    }
    return make_task(
        name="images",
        class_names=[str(name) for name in names],
        splits=arrays,
        input_shape=shape,
        augmentation="shift" if all(p.grey for p in probes) else "flip-shift",
        source=f"images in {data.name}",
    )


def _class_names(data: Path, splits: dict[str, list[Picture]]) -> list[str | int]:
    """Sorted classes, each with enough images.

    Raises:
        DataError: fewer than two classes, a class with too few images, or one that training images lack.
    """
    training = Counter(picture.label for picture in splits.get("train", splits.get("all", [])))
    for split, pictures in splits.items():
        if unknown := {picture.label for picture in pictures} - training.keys():
            raise DataError(
                f"{data}: {split} has classes that train has not: {sorted(map(str, unknown))[:5]}; add them"
            )
    if len(training) < 2:
        raise DataError(f"{data}: one class only, {next(iter(training))!r}; a task needs two or more. {LAYOUTS}")
    for label, count in training.items():
        if count < LEAST:
            raise DataError(
                f"{data}: class {label!r} has {count} training images, needs {LEAST}; add some or remove it"
            )
    return sorted(training, key=lambda label: (isinstance(label, str), label))


def _default_shape(probes: Sequence[Probe]) -> tuple[int, int, int]:
    middle = median(min(p.size) for p in probes)
    side = min(SIDES, key=lambda known: abs(known - middle))
    return (1 if all(p.grey for p in probes) else 3), side, side


def _complete(found: dict[str, list[Picture]]) -> dict[str, list[Picture]]:
    """Take the splits that are missing from the training images, by class."""
    splits = {**found, "train": list(found.get("train", found.get("all", [])))}
    rng = np.random.default_rng(SPLIT_SEED)
    missing = [split for split in ("validation", "test") if split not in found]
    members: dict[str | int, list[Picture]] = {}
    for picture in splits["train"]:
        members.setdefault(picture.label, []).append(picture)
    shuffled = {label: [group[i] for i in rng.permutation(len(group))] for label, group in members.items()}
    for split in missing:
        splits[split] = [
            shuffled[label].pop() for label, group in members.items() for _ in range(max(1, round(SHARE * len(group))))
        ]
    splits["train"] = [picture for group in shuffled.values() for picture in group]
    return {split: [splits[split][i] for i in rng.permutation(len(splits[split]))] for split in SPLITS}
