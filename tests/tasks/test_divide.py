from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import DataError
from hwnas.tasks.divide import class_names, divide, split_named

DATA = Path("data")
LABELS = [f"word{at % 3}" for at in range(120)]
SPEAKERS = [f"speaker{at // 10}" for at in range(120)]  # 12 of them


def sets(places: dict[str, np.ndarray], of: list[str]) -> dict[str, set[str]]:
    return {split: {of[at] for at in chosen} for split, chosen in places.items()}


def test_no_speaker_is_in_two_splits() -> None:
    places, how = divide(DATA, LABELS, [None] * 120, SPEAKERS)
    found = sets(places, SPEAKERS)
    assert sorted(at for chosen in places.values() for at in chosen) == list(range(120))
    assert sum(len(names) for names in found.values()) == 12
    assert {split: len(chosen) for split, chosen in places.items()} == {"train": 80, "validation": 20, "test": 20}
    assert "speaker" in how


def test_splits_that_share_speakers_are_not_used() -> None:
    named = [("train", "test")[at % 2] for at in range(120)]
    places, how = divide(DATA, LABELS, named, SPEAKERS)
    assert sum(len(names) for names in sets(places, SPEAKERS).values()) == 12
    assert "not the splits of the data" in how


def test_splits_that_share_none_are() -> None:
    named = ["test" if at < 30 else "train" for at in range(120)]
    places, how = divide(DATA, LABELS, named, SPEAKERS)
    assert set(places["test"]) == set(range(30))
    assert sum(len(names) for names in sets(places, SPEAKERS).values()) == 12
    assert "as the data name" in how


def test_two_speakers_cannot_be_kept_apart() -> None:
    places, how = divide(DATA, LABELS, [None] * 120, [f"speaker{at % 2}" for at in range(120)])
    assert {split: len(chosen) for split, chosen in places.items()} == {"train": 84, "validation": 18, "test": 18}
    assert "15% of each class" in how


def test_the_data_say() -> None:
    named = [("train", "train", "train", "validation", "test")[at % 5] for at in range(120)]
    places, _ = divide(DATA, LABELS, named)
    assert {split: sorted(chosen) for split, chosen in places.items()} == {
        split: [at for at in range(120) if named[at] == split] for split in ("train", "validation", "test")
    }


def test_what_is_missing_is_taken_by_class() -> None:
    named = ["test" if at % 4 == 0 else "train" for at in range(120)]
    places, _ = divide(DATA, LABELS, named)
    assert set(places["test"]) == set(range(0, 120, 4))
    counts = Counter(LABELS[at] for at in places["validation"])
    assert max(counts.values()) - min(counts.values()) <= 1


def test_the_same_data_are_divided_the_same_way() -> None:
    one, two = (divide(DATA, LABELS, [None] * 120, SPEAKERS)[0] for _ in range(2))
    assert all(np.array_equal(one[split], two[split]) for split in one)


@pytest.mark.parametrize(
    ("labels", "named", "message"),
    [
        (["a"] * 40, [None] * 40, "one class only, 'a'"),
        (["a"] * 40 + ["b"], [None] * 41, "class 'b' has [01] training samples, needs 3"),
        ([0.5 + at for at in range(40)], [None] * 40, "training samples, needs 3"),
        (["a", "b"] * 20, ["test"] * 40, "no samples are left for train"),
        (["a"] * 20 + ["b"] * 20, ["train"] * 20 + ["test"] * 10 + ["validation"] * 10, "class 'b' has 0 training"),
    ],
)
def test_data_that_cannot_be_divided(labels: list[str], named: list[str | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        divide(DATA, labels, named)


def test_names() -> None:
    assert class_names([10, 9, 10]) == [9, 10]
    assert class_names(["b", "a"]) == ["a", "b"]
    assert split_named("row", "DEV") == "validation"
    with pytest.raises(DataError, match="split 'rest' is not known; use one of: train"):
        split_named("row 3", "rest")
