from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hwnas.errors import ConfigError, DataError
from hwnas.tasks import build
from hwnas.tasks.build import check_input_shape, fit_images, make_task, stratified_order


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 3), st.data())
def test_any_piece_holds_each_class_in_proportion(labels: list[int], seed: int, data: st.DataObject) -> None:
    values = np.array(labels)
    order = stratified_order(values, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    cut = data.draw(st.integers(0, len(labels)))
    for label in set(labels):
        whole, piece = int((values == label).sum()), int((values[order[:cut]] == label).sum())
        assert abs(piece - whole * cut / len(labels)) <= len(set(labels))


@pytest.mark.parametrize("shape", [(8, 8), (2, 8, 8), (1, 0, 8), (3, 8, 8, 8)])
def test_bad_input_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"input_shape must be \(1 or 3, height, width\), got"):
        check_input_shape(shape)


def images(channels: int, height: int = 9, width: int = 12) -> Any:
    return np.random.default_rng(0).integers(0, 256, (4, channels, height, width), dtype=np.uint8)


def pillow(image: Any, shape: tuple[int, int, int]) -> Any:
    """The slow twin."""
    whole = Image.fromarray(image.transpose(1, 2, 0).squeeze()).convert("RGB" if shape[0] == 3 else "L")
    resized = np.asarray(whole.resize((shape[2], shape[1]), Image.Resampling.BILINEAR))
    return resized.transpose(2, 0, 1) if shape[0] == 3 else resized[None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(1, 9, 12), (3, 9, 12), (3, 18, 18), (1, 4, 6), (3, 5, 20)])
def test_fit_images_does_what_pillow_does(channels: int, shape: tuple[int, int, int]) -> None:
    raw = images(channels)
    found = fit_images(raw, shape)
    assert found.dtype == np.uint8
    expected = np.stack([pillow(image, shape) for image in raw]).astype(int)
    # Pillow rounds after each of its two passes.
    assert abs(found.astype(int) - expected).max() <= 2


def test_images_that_fit_are_not_copied() -> None:
    raw = images(3)
    assert fit_images(raw, (3, 9, 12)) is raw


def task(**more: Any) -> Any:
    rng = np.random.default_rng(0)

    def pair(count: int) -> Any:
        return rng.integers(0, 256, (count, 3, 4, 4), dtype=np.uint8), np.arange(count) % 2

    splits = {"train": pair(30), "validation": pair(6), "test": pair(6)}
    settings = {"name": "t", "class_names": ["a", "b"], "input_shape": (3, 4, 4), "augmentation": "none", "source": "s"}
    return make_task(**{"splits": splits, **settings, **more})


def test_statistics_are_those_of_the_training_split() -> None:
    made = task()
    normalised = made.preprocessing(made.train.inputs)
    np.testing.assert_allclose(normalised.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(normalised.std(axis=(0, 2, 3)), 1, atol=1e-5)


def test_statistics_of_one_colour_are_finite() -> None:
    black = {s: (np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 1])) for s in build.SPLITS}
    made = task(splits=black, input_shape=(1, 2, 2))
    assert made.preprocessing.std == (1 / 255,)
    assert np.isfinite(made.preprocessing(made.train.inputs)).all()


def test_fingerprint_follows_the_content() -> None:
    changed = {s: (pair.inputs.copy(), pair.labels) for s in build.SPLITS for pair in [getattr(task(), s)]}
    changed["validation"][0][0, 0, 0, 0] ^= 1
    prints = [task(), task(splits=changed), task(class_names=["a", "c"]), task(input_shape=(3, 8, 8))]
    assert task().fingerprint == prints[0].fingerprint
    assert len({made.fingerprint for made in prints}) == 4


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 3, 4, 4)), [0, 1, 0, 1], "bytes from 0 to 255, a numpy array of uint8, got float64"),
        (np.full((4, 3, 4, 4), np.nan, np.float32), [0, 1, 0, 1], "got float32"),
        (np.zeros((4, 3, 4, 4), np.int64), [0, 1, 0, 1], "got int64"),
        ([[0]], [0], "got list"),
        (np.zeros((4, 4, 4), np.uint8), [0, 1, 0, 1], r"1 or 3 channels, got \(4, 4, 4\)"),
        (np.zeros((4, 2, 4, 4), np.uint8), [0, 1, 0, 1], r"1 or 3 channels, got \(4, 2, 4, 4\)"),
        (np.zeros((4, 3, 4, 4), np.uint8), [0, 1, 0], "4 inputs but 3 labels"),
        (np.zeros((4, 3, 4, 4), np.uint8), [0, 1, 0, 2], "from 0 to 1; got 0 to 2"),
        (np.zeros((4, 3, 4, 4), np.uint8), ["a", "b", "a", "b"], "got others"),
    ],
)
def test_a_split_that_is_no_good(images: Any, labels: Any, message: str) -> None:
    good = {s: (np.zeros((2, 3, 4, 4), np.uint8), np.array([0, 1])) for s in build.SPLITS}
    with pytest.raises(DataError, match=message):
        task(splits={**good, "train": (images, np.array(labels))})


def test_labels_of_another_width_are_whole_numbers_too() -> None:
    pair = (np.zeros((2, 3, 4, 4), np.uint8), np.array([0, 1], np.uint8))
    assert task(splits=dict.fromkeys(build.SPLITS, pair)).train.labels.dtype == np.int64


def test_a_missing_split() -> None:
    with pytest.raises(DataError, match="needs the splits train, validation, test; missing: validation, test"):
        task(splits={"train": (np.zeros((2, 3, 4, 4), np.uint8), np.array([0, 1]))})


def test_an_empty_split() -> None:
    nothing = (np.zeros((0, 3, 4, 4), np.uint8), np.zeros(0, np.int64))
    with pytest.raises(DataError, match="a split is empty"):
        task(splits={"train": nothing, "validation": nothing, "test": nothing})


def test_images_that_do_not_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_DATA_BYTES", 1000)
    with pytest.raises(DataError, match=r"30 images of 3x8x8 need .* use fewer images"):
        task(input_shape=(3, 8, 8))
