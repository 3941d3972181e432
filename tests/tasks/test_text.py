from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hwnas.core.tokens import PAD
from hwnas.errors import ConfigError, DataError
from hwnas.tasks.text import load

REAL = Path(__file__).parents[2] / "../shared/data/sst2"
ROWS = [(f"a {'good' if number % 2 else 'bad'} film , number {number}", str(number % 2)) for number in range(40)]


def csv_of(path: Path, rows: Any = ROWS, header: str = "text,label") -> Path:
    lines = [header, *[f'"{text}",{label}' for text, label in rows]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_csv(tmp_path: Path) -> None:
    task = load(csv_of(tmp_path / "a.csv"))
    assert (task.class_names, task.n_outputs, task.input_shape) == (("0", "1"), 2, (8,))
    assert (len(task.train), len(task.validation), len(task.test)) == (28, 6, 6)
    assert task.train.inputs.dtype == np.int64
    words = task.preprocessing.to_json()["vocabulary"].split(" ")
    assert words[:2] == ["<pad>", "<unk>"]
    assert task.n_ids == len(words)
    assert "7" not in words  # met once
    for ids, label in zip(task.train.inputs, task.train.labels, strict=True):
        assert words[ids[1]] == ("good" if label else "bad")
        assert (ids[6:] == PAD).all()


def test_csv_and_parquet_are_the_same(tmp_path: Path) -> None:
    texts, labels = zip(*ROWS, strict=True)
    table = pa.table({"sentence": list(texts), "class": [int(label) for label in labels]})
    pq.write_table(table, tmp_path / "a.parquet")
    one = load(csv_of(tmp_path / "a.csv"))
    assert load(tmp_path / "a.parquet").fingerprint == one.fingerprint
    marked = tmp_path / "marked.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes())  # as spreadsheets write it
    assert load(marked).fingerprint == one.fingerprint


def test_files_and_a_column_name_splits(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        csv_of(tmp_path / f"{name}.csv")
    task = load(tmp_path)
    assert len(task.train) == len(task.validation) == len(task.test) == 40
    rows = [(text, f"{label},{('train', 'test')[number % 4 == 0]}") for number, (text, label) in enumerate(ROWS)]
    assert len(load(csv_of(tmp_path / "dev.csv", rows, "text,label,split")).test) == 10


def test_the_vocabulary_is_of_the_training_texts(tmp_path: Path) -> None:
    csv_of(tmp_path / "train.csv")
    csv_of(tmp_path / "test.csv", [(f"{text} unheard unheard", label) for text, label in ROWS])
    assert "unheard" not in load(tmp_path).preprocessing.to_json()["vocabulary"].split(" ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column of labels"),
        (b"text,label\n", "holds no texts"),
        (b"text,stars\nfine,1\n", "no column of labels; it has text, stars"),
        (b"words,label\nfine,1\n", "no column of texts; it has words, label"),
        (b"text,label\nfine\n", "line 2: it has not 2 columns"),
        (b"text,label\nfine, but long,1\n", "line 2: it has not 2 columns"),
        (b"text,label\nfine,\n", "line 2: no label"),
        (b"text,label\n,1\n", "line 2: no words in ''"),
        (b'text,label\n"fine,1\n', "not CSV"),
        ("text,label\ngrün,1\n".encode("latin-1"), r"is not UTF-8 \(byte \d+: .*\); save it as UTF-8"),
        ("text,label\nfine,1\n".encode("utf-16"), "is not UTF-8"),
        (b"text,label\n" + b"fine,1\n" * 20, "one class only"),
        (
            b"text,label\n" + b"".join(b"fine,%d.5\n" % n for n in range(40)),
            r"needs 3; .* \(there are 40 classes",
        ),
        (b"text,label,split\n" + b"fine,1,rest\n" * 20, "split 'rest' is not known"),
    ],
)
def test_bad_csv(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [None] * 6, "label": [0, 1] * 3}, "row 0: no text, got None"),
        ({"text": [float("nan")] * 6, "label": [0, 1] * 3}, "row 0: no text, got nan"),
        ({"text": ["fine"] * 6, "label": [0, None] * 3}, "row 1: no label"),
        ({"text": ["fine"] * 6, "label": [0.5, 1] * 3}, "labels must be integers or strings"),
        ({"label": [0, 1] * 3}, "no column of texts"),
    ],
)
def test_bad_parquet(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.parquet")


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs --data"):
        load(None)
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match=r"no \.csv and no \.parquet files, got nothing"):
        load(tmp_path)
    (tmp_path / "a.txt").write_text("fine")
    with pytest.raises(DataError, match=r"suffix '\.txt' is not read"):
        load(tmp_path / "a.txt")
    csv_of(tmp_path / "train.csv")
    csv_of(tmp_path / "more.csv")
    with pytest.raises(DataError, match=r"more\.csv names no split"):
        load(tmp_path)
    with pytest.raises(ConfigError, match="must be"):
        load(tmp_path, input_shape=(3, 32, 32))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/sst2")
def test_the_real_data() -> None:
    task = load(REAL)
    assert (len(task.train), len(task.validation), len(task.test)) == (6920, 872, 1821)
    assert task.input_shape == (40,)
    assert task.n_ids is not None
    assert 2000 < task.n_ids <= 8192
