from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hwnas.core.task import Split, Task
from hwnas.errors import ConfigError, DataError
from hwnas.tasks.images import load


def png(shade: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new("L", size, shade).convert(mode).save(file, "PNG")
    return file.getvalue()


def fill(
    folder: Path, counts: dict[str, int], start: int = 0, size: tuple[int, int] = (40, 30), mode: str = "RGB"
) -> int:
    """Write a folder per class; every image has a shade of its own."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for _ in range(count):
            (folder / name / f"{start}.png").write_bytes(png(start, size, mode))
            start += 1
    return start


def shades(split: Split) -> list[int]:
    return sorted(int(value) for value in split.inputs[:, 0, 0, 0])


def labels_of(task: Task) -> dict[int, str]:
    """Shade -> class name, over all splits."""
    return {
        int(image[0, 0, 0]): task.class_names[label]
        for split in (task.train, task.validation, task.test)
        for image, label in zip(split.inputs, split.labels, strict=True)
    }


def test_a_folder_per_class(tmp_path: Path) -> None:
    fill(tmp_path, {"cat": 20, "dog": 40, "emu": 3})
    task = load(tmp_path)
    assert task.class_names == ("cat", "dog", "emu")
    assert np.bincount(task.train.labels).tolist() == [14, 28, 1]
    assert np.bincount(task.validation.labels).tolist() == [3, 6, 1]
    assert np.bincount(task.test.labels).tolist() == [3, 6, 1]
    assert task.input_shape == (3, 32, 32)
    assert sorted(shades(task.train) + shades(task.validation) + shades(task.test)) == list(range(63))
    assert labels_of(task) == {i: "cat" if i < 20 else "dog" if i < 60 else "emu" for i in range(63)}
    assert task.augmentation == "flip-shift"


def test_the_split_is_the_same_each_time(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 9, "b": 9})
    assert load(tmp_path).fingerprint == load(tmp_path, seed=5).fingerprint


def test_nested_folders_notes_and_hidden_files(tmp_path: Path) -> None:
    fill(tmp_path, {"a/deep": 3, "b": 3})
    (tmp_path / "a" / "readme.txt").write_text("notes")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    assert load(tmp_path).class_names == ("a", "b")


@pytest.mark.parametrize("validation", ["val", "valid", "Validation"])
def test_folders_of_splits(tmp_path: Path, validation: str) -> None:
    end = fill(tmp_path / "train", {"a": 4, "b": 4})
    end = fill(tmp_path / validation, {"a": 2, "b": 2}, end)
    fill(tmp_path / "test", {"a": 1, "b": 2}, end)
    task = load(tmp_path)
    assert shades(task.train) == list(range(8))
    assert shades(task.validation) == list(range(8, 12))
    assert shades(task.test) == list(range(12, 15))


@pytest.mark.parametrize(("given", "taken"), [("val", "test"), ("test", "validation")])
def test_a_missing_split_is_taken_from_train(tmp_path: Path, given: str, taken: str) -> None:
    end = fill(tmp_path / "train", {"a": 20, "b": 20})
    fill(tmp_path / given, {"a": 1, "b": 1}, end)
    task = load(tmp_path)
    assert len(task.train) == 34
    assert np.bincount(getattr(task, taken).labels).tolist() == [3, 3]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, {"train": 3, "tram": 3})
    assert load(tmp_path).class_names == ("train", "tram")


def test_one_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"img": [png(i) for i in range(20)], "target": [10, 9] * 10}), path)
    for data in (path, tmp_path):
        task = load(data)
        assert task.class_names == ("9", "10")
        assert labels_of(task) == {i: "9" if i % 2 else "10" for i in range(20)}


def test_parquet_files_of_splits(tmp_path: Path) -> None:
    for number, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "validation", "test_1"]):
        images = [{"bytes": png(number * 10 + i), "path": None} for i in range(6)]
        pq.write_table(pa.table({"image": images, "label": ["x", "y"] * 3}), tmp_path / f"{name}.parquet")
    task = load(tmp_path)
    assert shades(task.train) == [*range(6), *range(10, 16)]
    assert shades(task.validation) == list(range(20, 26))
    assert shades(task.test) == list(range(30, 36))


@pytest.mark.parametrize(
    ("size", "mode", "expected"),
    [
        ((30, 20), "L", (1, 32, 32)),
        ((100, 90), "RGB", (3, 96, 96)),
        ((5000, 300), "RGB", (3, 224, 224)),
        ((70, 47), "1", (1, 32, 32)),
        ((70, 49), "RGB", (3, 64, 64)),
    ],
)
def test_default_input_shape(tmp_path: Path, size: tuple[int, int], mode: str, expected: tuple[int, int, int]) -> None:
    fill(tmp_path, {"a": 3, "b": 3}, size=size, mode=mode)
    task = load(tmp_path)
    assert task.input_shape == expected
    assert task.augmentation == ("shift" if expected[0] == 1 else "flip-shift")


def test_one_colour_image_makes_three_channels(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3}, mode="L")
    (tmp_path / "a" / "c.png").write_bytes(png(3))
    assert load(tmp_path).input_shape[0] == 3


def test_input_shape_that_was_asked_for(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    assert load(tmp_path, input_shape=(1, 16, 24)).train.inputs.shape == (2, 1, 16, 24)
    with pytest.raises(ConfigError, match="input_shape must be"):
        load(tmp_path, input_shape=(2, 16, 16))


def empty(folder: Path) -> None:
    """Nothing at all."""


def loose(folder: Path) -> None:
    (folder / "a.png").write_bytes(png(0))


def one_class(folder: Path) -> None:
    fill(folder, {"a": 5})


def small_class(folder: Path) -> None:
    fill(folder, {"a": 5, "b": 2})


def empty_class(folder: Path) -> None:
    fill(folder, {"a": 5, "b": 0})


def broken(folder: Path) -> None:
    fill(folder, {"a": 5, "b": 5})
    (folder / "b" / "7.png").write_bytes(png(7)[:60])


def no_image(folder: Path) -> None:
    fill(folder, {"a": 5, "b": 5})
    (folder / "b" / "x.jpg").write_text("not an image")


def strange_suffix(folder: Path) -> None:
    fill(folder, {"a": 5, "b": 5})
    (folder / "b" / "x.heic").write_bytes(b"x")


def only_notes(folder: Path) -> None:
    fill(folder, {"a": 5, "b": 0})
    (folder / "b" / "x.txt").write_text("x")


def no_classes_in_split(folder: Path) -> None:
    fill(folder / "train", {"a": 5, "b": 5})
    (folder / "test").mkdir()


def new_class_in_test(folder: Path) -> None:
    fill(folder / "train", {"a": 5, "b": 5})
    fill(folder / "test", {"c": 5}, 10)


def wrong_column(folder: Path) -> None:
    pq.write_table(pa.table({"image": [b"x"], "kind": [1]}), folder / "a.parquet")


def broken_row(folder: Path) -> None:
    images = [png(i) for i in range(8)]
    images[5] = b"broken"
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 4}), folder / "a.parquet")


def no_rows(folder: Path) -> None:
    columns = {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}
    pq.write_table(pa.table(columns), folder / "a.parquet")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, "has no class folders and no parquet files, got nothing; give a folder per class"),
        (loose, "has no class folders and no parquet files, got a.png"),
        (one_class, "one class only, 'a'"),
        (small_class, "class 'b' has 2 training images, needs 3"),
        (empty_class, r"class folder .*b holds no images"),
        (only_notes, r"class folder .*b holds no images"),
        (broken, r"b/7.png: broken"),
        (no_image, r"b/x.jpg: not an image"),
        (strange_suffix, r"b/x.heic: suffix '.heic' is not read; convert or remove 1 such files"),
        (no_classes_in_split, "test has no class folders"),
        (new_class_in_test, r"test has classes that train has not: \['c'\]"),
        (wrong_column, "no column of labels; it has image, kind"),
        (broken_row, "a.parquet row 5: not an image"),
        (no_rows, "no images in all"),
    ],
)
def test_bad_data(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


def test_no_data() -> None:
    with pytest.raises(DataError, match="needs --data PATH; give a folder per class"):
        load(None)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none does not exist; give a folder per class"):
        load(tmp_path / "none")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x")
    with pytest.raises(DataError, match=r"suffix '.zip' is not read, only .parquet or a folder"):
        load(tmp_path / "a.zip")
