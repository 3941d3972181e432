from __future__ import annotations

from pathlib import Path

import pytest

from hwnas import errors
from hwnas.errors import HwnasError, RunFolderError
from hwnas.search.resident import error_of, read_files, write_files
from hwnas.store import write_atomic


@pytest.mark.parametrize("name", ["../x", "/etc/x", "models/other/x", "models/ab/../other/x", "x", "models/abc/x"])
def test_a_file_that_was_not_asked_for_is_not_written(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        write_files(tmp_path, {name: b"x"}, within=["models/ab"])
    assert list(tmp_path.rglob("*")) == []


def test_files_arrive_as_they_were_with_the_manifest_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"models/ab/manifest.json": b"{}", "models/ab/model.onnx": b"\0\1", "models/ab/more/weights": b"2"}
    written: list[str] = []

    def noting(path: Path, data: bytes) -> None:
        written.append(path.name)
        write_atomic(path, data)

    monkeypatch.setattr("hwnas.search.resident.write_atomic", noting)
    write_files(tmp_path, files, within=["models/ab"])
    assert read_files(tmp_path, list(files)) == files
    assert written[-1] == "manifest.json"


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "nearest"])
def test_an_error_is_the_same_on_both_sides(name: str) -> None:
    made = error_of((name, "what, and what to do"))
    assert type(made) is getattr(errors, name)
    assert str(made) == "what, and what to do"


@pytest.mark.parametrize("name", ["nearest", "Sequence", "nothing", "__name__"])
def test_a_name_that_is_no_error_of_ours(name: str) -> None:
    assert type(error_of((name, "said"))) is HwnasError
