"""CIFAR-10: from parquet files, or from the official binary archive (downloaded only when asked for)."""

from __future__ import annotations

import hashlib
import tarfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.core.task import Task
from hwnas.errors import DataError, RunFolderError
from hwnas.store import cache_dir, write_atomic
from hwnas.tasks.build import make_task, stratified_order
from hwnas.tasks.parquet import read_pictures
from hwnas.tasks.pictures import decode_all

__all__ = ["ARCHIVE", "CLASSES", "download", "load"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
MAX_ARCHIVE_BYTES = 200 * 1024**2
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES = ("test_batch.bin",)
FOLDER = "cifar-10-batches-bin"  # inside the archive
SHAPE = (3, 32, 32)
RECORD = 1 + 3072  # a label, then the red, green and blue planes
SPLIT_SEED = 2009  # the split is part of the task, so that every search reads the same validation images
HOW = f"pass --data DIR with train.parquet and test.parquet or {ARCHIVE}, or --data download"

Pair = tuple[NDArray[np.uint8], NDArray[np.int64]]


def load(data: Path | None = None, *, input_shape: tuple[int, ...] | None = None, seed: int = 0) -> Task:
    """60,000 colour images of 32 x 32, ten classes: train 45,000, validation 5,000, and the official 10,000 as test.

    Validation is a stratified tenth of the official training images, always the same.

    Args:
        data: a folder with train.parquet and test.parquet (columns label and jpeg or image), with the archive or with
            its .bin files; the archive itself; or `download` (if nothing of that name exists here).
        input_shape: (1 or 3, height, width) to resize to; None is (3, 32, 32).
        seed: not used: the split is the same for all seeds, so that searches can be compared.
    Raises:
        DataError: no data, or not CIFAR-10's.
        ConfigError: `input_shape` is not one of an image.
    Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """
    if data is None:
        raise DataError(f"task 'cifar10' needs its images; {HOW}")
    if str(data) == "download" and not data.exists():
        data = download(cache_dir() / "cifar10")
    (images, labels), test, source = _read(data)
    order = stratified_order(labels, np.random.default_rng(SPLIT_SEED))
    validation, train = np.split(order, [len(order) // 10])
    return make_task(
        name="cifar10",
        class_names=CLASSES,
        splits={
            "train": (images[train], labels[train]),
            "validation": (images[validation], labels[validation]),
            "test": test,
        },
        input_shape=input_shape or SHAPE,
        augmentation="flip-shift",
        source=source,
    )


def download(folder: Path) -> Path:
    """Fetch the official archive (170 MB) into `folder`, check it and return its path; kept if it is there already.

    Raises:
        DataError: no connection, or the checksum is wrong.
    """
    path = folder / ARCHIVE
    if path.is_file() and _md5(path.read_bytes()) == MD5:
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(URL, timeout=60) as response:
            content = response.read(MAX_ARCHIVE_BYTES)
    except OSError as error:
        raise DataError(f"cannot download {URL} ({error}); fetch it elsewhere and pass --data FILE") from error
    if (found := _md5(content)) != MD5:
        raise DataError(f"{URL}: checksum is {found}, not {MD5}; try again later or pass --data DIR")
    try:
        write_atomic(path, content)
    except RunFolderError as error:
        raise DataError(f"cannot keep the download: {error}") from error
    return path


def _read(data: Path) -> tuple[Pair, Pair, str]:
    """Training and test images, and where they came from."""
    if not data.exists():
        raise DataError(f"{data} does not exist; {HOW}")
    if data.is_file():
        return _from_archive(data)
    for folder in (data, data / FOLDER):
        if (folder / "train.parquet").is_file() and (folder / "test.parquet").is_file():
            train, test = (_from_parquet(folder / f"{part}.parquet") for part in ("train", "test"))
            return train, test, "CIFAR-10 from parquet files"
        if any((folder / name).is_file() for name in (*TRAIN_FILES, *TEST_FILES)):
            train, test = (_from_files(folder, names) for names in (TRAIN_FILES, TEST_FILES))
            return train, test, "CIFAR-10 from binary files"
    if (data / ARCHIVE).is_file():
        return _from_archive(data / ARCHIVE)
    found = sorted(path.name for path in data.iterdir())[:5]
    raise DataError(f"{data} holds no CIFAR-10, got {', '.join(found) or 'an empty folder'}; {HOW}")


def _from_parquet(path: Path) -> Pair:
    pictures = read_pictures(path)
    labels = [picture.label for picture in pictures]
    if wrong := sorted({repr(label) for label in labels if label not in range(10)}):
        raise DataError(f"{path}: labels must be 0 to 9, got {', '.join(wrong[:5])}; is it CIFAR-10?")
    return decode_all(pictures, SHAPE), np.array(labels, dtype=np.int64)


def _from_files(folder: Path, names: Iterable[str]) -> Pair:
    try:
        return _join([_records((folder / name).read_bytes(), folder / name) for name in names])
    except OSError as error:
        raise DataError(f"{folder}: cannot read {error.filename} ({error.strerror}); {HOW}") from error


def _from_archive(path: Path) -> tuple[Pair, Pair, str]:
    """Read the archive's six files by name; nothing is unpacked to disk."""
    if (found := _md5(path.read_bytes())) != MD5:
        raise DataError(f"{path}: checksum is {found}, not that of {ARCHIVE} ({MD5}); {HOW}")
    try:
        with tarfile.open(path, "r:gz") as archive:
            train, test = (
                _join([_records(_member(archive, name), path / name) for name in names])
                for names in (TRAIN_FILES, TEST_FILES)
            )
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: broken archive ({error}); {HOW}") from error
    return train, test, f"CIFAR-10 official archive {ARCHIVE}, md5 {MD5}"


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        file = archive.extractfile(f"{FOLDER}/{name}")
    except KeyError:
        file = None
    if file is None:
        raise DataError(f"the archive has no {FOLDER}/{name}; {HOW}")
    return file.read(RECORD * 10_000)


def _records(content: bytes, name: Path) -> Pair:
    if not content or len(content) % RECORD:
        raise DataError(f"{name}: {len(content)} bytes are not whole records of {RECORD}; {HOW}")
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
    if (rows[:, 0] > 9).any():
        raise DataError(f"{name}: a label is above 9, so it is not CIFAR-10; {HOW}")
    return rows[:, 1:].reshape(-1, *SHAPE), rows[:, 0].astype(np.int64)


def _join(parts: list[Pair]) -> Pair:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
