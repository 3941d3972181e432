"""Training, validation and test of labelled samples: as the data say, by speaker, or by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError
from hwnas.tasks.build import SPLITS, stratified_order

__all__ = ["SPLIT_NAMES", "class_names", "divide", "split_named"]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
SHARE = 0.15  # for validation and for test, where the data has no such split
LEAST = 3  # samples of a class in training
SPLIT_SEED = 70_15_15  # the split depends on the data only, so that every search reads the same samples

Label = str | int
Indices = dict[str, NDArray[np.int64]]


def split_named(where: str, name: object) -> str:
    """The split that a word of the data means.

    Raises:
        DataError: it means none.
    """
    found = SPLIT_NAMES.get(str(name).lower())
    if found is None:
        raise DataError(f"{where}: split {name!r} is not known; use one of: {', '.join(SPLIT_NAMES)}")
    return found


def class_names(labels: Sequence[Label]) -> list[Label]:
    """Different labels, numbers in their order before words in theirs."""
    return sorted(set(labels), key=lambda label: (isinstance(label, str), label))


def divide(
    data: Path, labels: Sequence[Label], named: Sequence[str | None], speakers: Sequence[str | None] | None = None
) -> tuple[Indices, str]:
    """Divide samples into `SPLITS`; always the same way for the same data.

    The data's own splits are used, unless they share speakers of whom there are three or more. What they lack is taken
    from the training samples: whole speakers, at least 15 %, where every sample says who speaks and there are enough of
    them, so that none is in two splits; else 15 % of each class.

    Args:
        data: for messages.
        labels: of `n` samples.
        named: the split that the data name for each ("train", "validation", "test"); None: none.
        speakers: who speaks, of each; None: not known.
    Returns:
        The samples of each split, mixed, and in words how they were divided.
    Raises:
        DataError: one class only, a class with too few training samples or none, or an empty split.
    """
    at = np.array([{"train": 0, "validation": 1, "test": 2}.get(name or "train", 0) for name in named])
    rng = np.random.default_rng(SPLIT_SEED)
    who = np.array([str(name) for name in speakers]) if speakers and None not in speakers else None
    has = {split for number, split in enumerate(SPLITS) if (at == number).any()}
    how = "" if len(has) < 2 else f"{', '.join(split for split in SPLITS if split in has)} as the data name them"
    if who is not None and len(set(who)) >= len(SPLITS) and _share(at, who):
        at, has, how = np.zeros_like(at), {"train"}, "not the splits of the data, which share speakers"
    missing = [split for split in SPLITS if split not in has]
    if missing and who is not None and len(set(who[at == 0])) > len(missing):
        at, own = _by_speaker(at, who, missing, rng), f"{' and '.join(missing)} by speaker, none is in two splits"
    else:
        at, own = _by_class(at, labels, missing, rng), f"{SHARE:.0%} of each class for {' and '.join(missing)}"
    how = "; ".join(part for part in (how, own if missing else "") if part)
    _check(data, labels, at)
    return {split: rng.permutation(np.flatnonzero(at == number)) for number, split in enumerate(SPLITS)}, how


def _share(at: NDArray[np.int64], who: NDArray[np.str_]) -> bool:
    """Whether a speaker is in two splits."""
    return any(len(set(at[who == name])) > 1 for name in set(who))


def _by_speaker(
    at: NDArray[np.int64], who: NDArray[np.str_], missing: Sequence[str], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Take the missing splits from the training speakers, in a random order, until each has its share."""
    order, found = [str(name) for name in rng.permutation(sorted(set(who[at == 0])))], at.copy()
    for still, split in zip(range(len(missing), 0, -1), missing, strict=True):
        number = SPLITS.index(split)
        # One speaker at least for each of the splits that are still to be made, and for training.
        while len(order) > still and (found == number).sum() < SHARE * len(who):
            found[(at == 0) & (who == order.pop(0))] = number
    return found


def _by_class(
    at: NDArray[np.int64], labels: Sequence[Label], missing: Sequence[str], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Take the missing splits from the training samples."""
    train = np.flatnonzero(at == 0)
    order = train[stratified_order(np.array([str(label) for label in labels])[train], rng)]
    size = max(1, round(SHARE * len(train)))
    found = at.copy()
    for place, split in enumerate(missing):
        found[order[place * size : (place + 1) * size]] = SPLITS.index(split)
    return found


def _check(data: Path, labels: Sequence[Label], at: NDArray[np.int64]) -> None:
    names = class_names(labels)
    if len(names) < 2:
        raise DataError(f"{data}: one class only, {', '.join(map(repr, names))}; a task needs two or more")
    for number, split in enumerate(SPLITS):
        if not (at == number).any():
            raise DataError(f"{data}: no samples are left for {split}; add some")
    counts = Counter(label for label, place in zip(labels, at, strict=True) if place == 0)
    for name in names:
        if counts[name] < LEAST:
            raise DataError(
                f"{data}: class {name!r} has {counts[name]} training samples, needs {LEAST}; add some or remove it "
                f"(there are {len(names)} classes)"
            )
