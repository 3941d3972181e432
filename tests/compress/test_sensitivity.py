from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from hwnas.compress.sensitivity import SENSITIVITY, Sensitivity, measure_sensitivity
from hwnas.errors import RunFolderError, SchemaError
from hwnas.store import read_json, write_json

RATIOS = (0.25, 0.5, 0.75)


def of(*accuracies: float) -> Sensitivity:
    pairs = tuple(zip(RATIOS, accuracies, strict=True))
    return Sensitivity(0.9, 0.1, 300, "fp32", {"a": pairs})


def test_every_stage_and_ratio_is_read_once() -> None:
    asked: list[Mapping[str, float]] = []

    def accuracy_of(ratios: Mapping[str, float]) -> float:
        asked.append(ratios)
        return 0.9 - sum(ratios.values()) / 10

    steps: list[float] = []
    found = measure_sensitivity({"a": RATIOS, "b": (0.5,)}, accuracy_of, guessing=0.1, n=7, on_step=steps.append)
    assert asked == [{}, {"a": 0.25}, {"a": 0.5}, {"a": 0.75}, {"b": 0.5}]
    assert steps == pytest.approx([0.9, 0.875, 0.85, 0.825, 0.85])
    assert (found.accuracy, found.n) == (0.9, 7)
    assert dict(found.stages["b"]) == pytest.approx({0.5: 0.85})


@pytest.mark.parametrize(
    ("accuracies", "ratios"),
    [
        ((0.9, 0.8, 0.7), (0.0, 0.25, 0.5, 0.75)),
        ((0.9, 0.8, 0.1), (0.0, 0.25, 0.5)),
        ((0.8, 0.1, 0.9), (0.0, 0.25)),  # what comes after a ratio that costs too much is not believed
        ((0.1, 0.1, 0.1), (0.0, 0.25)),  # one above 0 always stays: fine-tuning may bring it back
        ((0.43, 0.43, 0.41), (0.0, 0.25, 0.5)),  # 40 % of what is known beyond guessing: 0.1 + 0.4 x 0.8 = 0.42
    ],
)
def test_ratios_that_cost_too_much_are_not_searched(accuracies: tuple[float, ...], ratios: tuple[float, ...]) -> None:
    assert of(*accuracies).ratios("a") == ratios


def test_it_is_read_back(tmp_path: Path) -> None:
    found = of(0.9, 0.8, 0.1)
    found.write(tmp_path)
    assert Sensitivity.read(tmp_path) == found
    assert read_json(tmp_path / SENSITIVITY)["stages"][0]["searched"] == [0.0, 0.25, 0.5]


def test_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="does not exist"):
        Sensitivity.read(tmp_path)
    good = of(0.9, 0.8, 0.1).to_json()
    for change, kind, said in (
        ({"schema": 2}, SchemaError, "schema 2"),
        ({"accuracy": "high"}, RunFolderError, "accuracy must be a finite number"),
        ({"stages": [{"stage": "a"}]}, RunFolderError, r"stages\[0\].accuracy"),
        ({"stages": 3}, RunFolderError, "stages must be a list"),
    ):
        write_json(tmp_path / SENSITIVITY, good | change)
        with pytest.raises(kind, match=said):
            Sensitivity.read(tmp_path)
