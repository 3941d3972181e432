from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from hwnas.errors import RunFolderError, SchemaError
from hwnas.store import cache_dir, inside, read_json, sha256_of, write_atomic, write_json


def test_write_then_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"schema": 1, "x": [1.5, None]})
    assert read_json(path, schema=1) == {"schema": 1, "x": [1.5, None]}
    assert path.read_bytes().endswith(b"}\n")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFolderError, match="No space left on device; free some space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a", b"x")
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot write"):
        write_atomic(tmp_path / "none" / "a", b"x")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_is_refused_and_the_old_file_stays(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"x": value})
    assert read_json(path) == {"x": 1}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, RunFolderError, "does not exist"),
        (b"", RunFolderError, "damaged"),
        (b'{"schema": 1', RunFolderError, "damaged"),
        (b"\xff\xfe\xfa", RunFolderError, "damaged"),
        (b"[1]", RunFolderError, "expected an object, got list"),
        (b'{"schema": 2}', SchemaError, "has schema 2, this version reads 1"),
        (b"{}", SchemaError, "has schema None"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes | None, error: type[Exception], message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        read_json(path, schema=1)


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hwnas" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"hwnas" * 100_000).hexdigest()


@pytest.mark.parametrize("relative", ["../x", "/etc/passwd", "a/../../x", ".."])
def test_paths_stay_inside(tmp_path: Path, relative: str) -> None:
    with pytest.raises(RunFolderError, match="leaves"):
        inside(tmp_path, relative)


@pytest.mark.parametrize("relative", ["a", "a/b", "a/../b", "."])
def test_paths_inside(tmp_path: Path, relative: str) -> None:
    assert inside(tmp_path, relative).is_relative_to(tmp_path.resolve())


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "link").symlink_to(tmp_path)
    with pytest.raises(RunFolderError, match="leaves"):
        inside(tmp_path / "run", "link/secret")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"HWNAS_CACHE": "/a"}, "/a"),
        ({"HWNAS_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/hwnas"),
        ({"HOME": "/c"}, "/c/.cache/hwnas"),
        ({"XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/hwnas"),
    ],
)
def test_cache_dir(monkeypatch: pytest.MonkeyPatch, env: dict[str, str], expected: str) -> None:
    for name in ("HWNAS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path(expected)
