from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwnas.errors import DataError
from hwnas.tasks.parquet import IMAGE_COLUMNS, LABEL_COLUMNS, read_pictures


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("image", IMAGE_COLUMNS)
@pytest.mark.parametrize("label", LABEL_COLUMNS)
def test_columns(tmp_path: Path, image: str, label: str) -> None:
    found = read_pictures(write(tmp_path / "a.parquet", **{image: [b"x", b"y"], label: [1, 0], "more": [0, 0]}))
    assert [(p.source, p.label) for p in found] == [(b"x", 1), (b"y", 0)]
    assert found[1].name.endswith("a.parquet row 1")


@pytest.mark.parametrize(
    "labels", [pa.array(["b", "a"]), pa.array(["b", "a"]).dictionary_encode(), pa.array(["b", "a"], pa.large_string())]
)
def test_labels_may_be_text(tmp_path: Path, labels: pa.Array) -> None:
    found = read_pictures(write(tmp_path / "a.parquet", image=[b"x", b"y"], label=labels))
    assert [p.label for p in found] == ["b", "a"]


def test_structs_of_bytes_and_path(tmp_path: Path) -> None:
    images = [{"bytes": b"x", "path": "../ignored.png"}, {"bytes": None, "path": "deep/y.png"}]
    found = read_pictures(write(tmp_path / "a.parquet", image=images, label=[0, 1]))
    assert [p.source for p in found] == [b"x", tmp_path / "deep" / "y.png"]


@pytest.mark.parametrize("path", ["../x.png", "/etc/passwd", "a/../../x.png"])
def test_paths_stay_in_the_folder(tmp_path: Path, path: str) -> None:
    file = write(tmp_path / "a.parquet", image=[{"bytes": None, "path": path}], label=[0])
    with pytest.raises(DataError, match=r"row 0: path .* leaves the folder"):
        read_pictures(file)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"picture": [b"x"], "label": [0]}, "no column of images; it has picture, label. Name the column one of image"),
        ({"image": [b"x"], "kind": [0]}, "no column of labels; it has image, kind. Name the column one of label"),
        ({"image": ["x"], "label": [0]}, "column 'image' holds string; images must be bytes"),
        ({"image": [[1, 2]], "label": [0]}, "column 'image' holds list"),
        ({"image": [b"x"], "label": [0.5]}, "column 'label' holds double; labels must be integers or strings"),
        ({"image": [b"x", b"y"], "label": [0, None]}, "row 1: no label"),
        ({"image": [b"x", None], "label": [0, 1]}, "row 1: no image"),
        ({"image": [{"bytes": None, "path": None}], "label": [0]}, "column 'image' holds struct|row 0: no image"),
        ({"image": [None, {"bytes": b"x"}], "label": [0, 1]}, "row 0: no image"),
    ],
)
def test_bad_tables(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pictures(write(tmp_path / "a.parquet", **columns))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"hello" * 100])
def test_no_parquet(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a.parquet: cannot be read as parquet"):
        read_pictures(tmp_path / "a.parquet")


def test_cut_off_in_the_middle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", image=[bytes(range(256)) * 40] * 20, label=list(range(20)))
    content = path.read_bytes()
    path.write_bytes(content[:100] + content[300:])
    with pytest.raises(DataError):
        read_pictures(path)
