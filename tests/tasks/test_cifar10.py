from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hwnas.errors import DataError
from hwnas.tasks import cifar10
from hwnas.tasks.cifar10 import ARCHIVE, CLASSES, FOLDER, TEST_FILES, TRAIN_FILES, download, load

REAL = Path(__file__).parents[2] / "../shared/data/cifar10"


def records(count: int, seed: int) -> bytes:
    """CIFAR-10's binary records with labels 0, 1, ... 9, 0, ..."""
    rows = np.random.default_rng(seed).integers(0, 256, (count, 3073), dtype=np.uint8)
    rows[:, 0] = np.arange(count) % 10
    return rows.tobytes()


def binary_files(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate((*TRAIN_FILES, *TEST_FILES)):
        (folder / name).write_bytes(records(20, seed))


def archive(folder: Path) -> Path:
    binary_files(folder / FOLDER)
    with tarfile.open(folder / ARCHIVE, "w:gz") as file:
        file.add(folder / FOLDER, FOLDER)
    for path in (folder / FOLDER).iterdir():
        path.unlink()
    (folder / FOLDER).rmdir()
    return folder / ARCHIVE


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Take this archive's checksum for the official one."""

    def accept(path: Path) -> None:
        monkeypatch.setattr(cifar10, "MD5", hashlib.md5(path.read_bytes()).hexdigest())

    return accept


def test_binary_files(tmp_path: Path) -> None:
    binary_files(tmp_path)
    task = load(tmp_path)
    assert (len(task.train), len(task.validation), len(task.test)) == (90, 10, 20)
    assert np.bincount(task.validation.labels).tolist() == [1] * 10
    assert task.class_names == CLASSES
    assert task.augmentation == "flip-shift"
    expected = np.frombuffer(records(20, 5), np.uint8).reshape(20, 3073)
    np.testing.assert_array_equal(task.test.inputs.reshape(20, -1), expected[:, 1:])
    np.testing.assert_array_equal(task.test.labels, expected[:, 0])


def test_the_archive_and_its_folder_give_the_same(tmp_path: Path, known: Callable[[Path], None]) -> None:
    path = archive(tmp_path / "packed")
    known(path)
    binary_files(tmp_path / "unpacked" / FOLDER)
    prints = [load(data).fingerprint for data in (path, path.parent, tmp_path / "unpacked")]
    assert len(set(prints)) == 1
    assert [entry.name for entry in path.parent.iterdir()] == [ARCHIVE]


def test_parquet_and_another_shape(tmp_path: Path) -> None:
    for part, count in (("train", 40), ("test", 10)):
        files = []
        for i in range(count):
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (i, 0, 0)).save(file, "PNG")
            files.append(file.getvalue())
        pq.write_table(pa.table({"label": [i % 10 for i in range(count)], "jpeg": files}), tmp_path / f"{part}.parquet")
    task = load(tmp_path, input_shape=(1, 16, 16))
    assert task.test.inputs.shape == (10, 1, 16, 16)
    assert (len(task.train), len(task.validation)) == (36, 4)


def test_download_asks_the_cache_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Callable[[Path], None]
) -> None:
    folder = tmp_path / "cache" / "cifar10"
    folder.mkdir(parents=True)
    known(archive(folder))
    monkeypatch.setenv("HWNAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar10, "URL", "file:///does/not/exist")
    monkeypatch.chdir(tmp_path)
    assert len(load(Path("download")).test) == 20


def test_download_checks_and_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: Callable[[Path], None]
) -> None:
    source = archive(tmp_path / "server")
    monkeypatch.setattr(cifar10, "URL", source.as_uri())
    with pytest.raises(DataError, match=r"checksum is .* not c32a1d4a"):
        download(tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []
    known(source)
    path = download(tmp_path / "home")
    assert path.read_bytes() == source.read_bytes()


def test_download_without_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "URL", (tmp_path / "none").as_uri())
    with pytest.raises(DataError, match=r"cannot download .* fetch it elsewhere and pass --data FILE"):
        download(tmp_path / "home")


def missing(folder: Path) -> Path:
    return folder / "none"


def empty(folder: Path) -> Path:
    return folder


def foreign(folder: Path) -> Path:
    (folder / "cat.png").write_bytes(b"x")
    return folder


def wrong_archive(folder: Path) -> Path:
    return archive(folder)


def half_of_the_files(folder: Path) -> Path:
    binary_files(folder)
    (folder / TRAIN_FILES[3]).unlink()
    return folder


def half_a_record(folder: Path) -> Path:
    binary_files(folder)
    (folder / TRAIN_FILES[3]).write_bytes(records(20, 0)[:-1])
    return folder


def cifar100(folder: Path) -> Path:
    binary_files(folder)
    (folder / TEST_FILES[0]).write_bytes(bytes([77]) + records(20, 0)[1:])
    return folder


def labels_of_words(folder: Path) -> Path:
    for part in ("train", "test"):
        pq.write_table(pa.table({"label": ["cat"], "jpeg": [b"x"]}), folder / f"{part}.parquet")
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, "none does not exist; pass --data DIR"),
        (empty, "holds no CIFAR-10, got an empty folder; pass --data DIR"),
        (foreign, "holds no CIFAR-10, got cat.png"),
        (wrong_archive, "checksum is .* not that of cifar-10-binary.tar.gz"),
        (half_of_the_files, r"cannot read .*data_batch_4.bin \(No such file"),
        (half_a_record, "data_batch_4.bin: 61459 bytes are not whole records of 3073"),
        (cifar100, "test_batch.bin: a label is above 9"),
        (labels_of_words, "labels must be 0 to 9, got 'cat'"),
    ],
)
def test_bad_data(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(make(tmp_path))


def test_an_archive_without_a_file(tmp_path: Path, known: Callable[[Path], None]) -> None:
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as file:
        file.addfile(tarfile.TarInfo(f"{FOLDER}/{TRAIN_FILES[0]}"))
    known(tmp_path / ARCHIVE)
    with pytest.raises(DataError, match="0 bytes are not whole records"):
        load(tmp_path)


def test_an_archive_that_is_none(tmp_path: Path, known: Callable[[Path], None]) -> None:
    (tmp_path / ARCHIVE).write_bytes(b"not a tar file")
    known(tmp_path / ARCHIVE)
    with pytest.raises(DataError, match="broken archive"):
        load(tmp_path)


def test_no_data() -> None:
    with pytest.raises(DataError, match=r"needs its images; pass --data DIR .* or --data download"):
        load(None)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/cifar10")
def test_the_real_images() -> None:
    start = time.perf_counter()
    task = load(REAL)
    print(f"cifar10 loaded in {time.perf_counter() - start:.1f} s")
    assert (len(task.train), len(task.validation), len(task.test)) == (45_000, 5_000, 10_000)
    assert np.bincount(task.validation.labels).tolist() == [500] * 10
    np.testing.assert_allclose(task.preprocessing.mean, (0.491, 0.482, 0.447), atol=0.002)
