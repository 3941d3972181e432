"""The user's own labelled texts."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.core.task import Split, Task, suits
from hwnas.core.tokens import TokenPreprocessing, common_words, words_of
from hwnas.errors import ConfigError, DataError
from hwnas.tasks.build import fingerprint_of
from hwnas.tasks.divide import SPLIT_NAMES, class_names, divide, split_named
from hwnas.tasks.parquet import LABEL_COLUMNS, pick_column, read_columns, read_labels

__all__ = ["LAYOUTS", "load"]

TEXT_COLUMNS = ("text", "sentence", "review", "content", "comment")
LAYOUTS = (
    "give a .csv or .parquet file, or a folder of them, with a column of texts "
    f"({', '.join(TEXT_COLUMNS)}) and one of labels ({', '.join(LABEL_COLUMNS)})"
)
MOST_WORDS = 8192
PERCENTILE = 95  # of the lengths, that become the network's
LEAST_TOKENS, MOST_TOKENS, STEP = 8, 128, 8
MAX_BYTES = 1024**3  # of a CSV file


@dataclass(frozen=True, slots=True)
class Sentence:
    """A labelled text.

    Attributes:
        name: file and row, for messages.
        text: as the user wrote it.
        label: its class.
        split: that the data name, None if they name none.
    """

    name: str
    text: str = field(repr=False)
    label: str | int
    split: str | None

    def __post_init__(self) -> None:
        if not words_of(self.text):
            raise DataError(f"{self.name}: no words in {self.text[:40]!r}; fill it or remove the row")


@suits("tiny-transformer")
def load(data: Path | None = None, *, input_shape: tuple[int, ...] | None = None, seed: int = 0) -> Task:
    """Texts with a class each, from CSV (UTF-8, with a header) or parquet.

    A text becomes lower case, then words and punctuation, then ids: those of the 8,192 commonest words of the training
    texts that are met twice or more. It has as many ids as 95 % of the training texts need, rounded up to a multiple of
    8, at most 128; what is longer loses its end. Splits are those of a column `split` or of the files' names
    (train.csv, dev.parquet); missing ones are 15 % of each class.

    Args:
        data: a file, or a folder of files.
        input_shape: (tokens,); None: as above.
        seed: not used: the split is the same for all seeds, so that searches can be compared.
    Raises:
        DataError: the data is missing, empty, not text, or lacks a column, a text or a label.
        ConfigError: `input_shape` is not one of a row of ids.
    """
    if data is None:
        raise DataError(f"task 'text' needs --data PATH; {LAYOUTS}")
    if input_shape is not None and (len(input_shape) != 1 or input_shape[0] < 1):
        raise ConfigError(f"input_shape of task 'text' must be (tokens,), got {input_shape}")
    found = _as_numbers([sentence for path, split in _files(data) for sentence in _read(path, split)])
    if not found:
        raise DataError(f"{data} holds no texts; {LAYOUTS}")
    labels = [sentence.label for sentence in found]
    places, how = divide(data, labels, [sentence.split for sentence in found])
    training = [found[at].text for at in sorted(places["train"])]
    n_tokens = _length(training) if input_shape is None else input_shape[0]
    preprocessing = TokenPreprocessing(n_tokens, common_words(training, MOST_WORDS))
    names = class_names(labels)
    number = {name: index for index, name in enumerate(names)}
    ids = preprocessing.encode([sentence.text for sentence in found])
    targets = np.array([number[label] for label in labels], dtype=np.int64)
    splits = {split: Split(ids[chosen], targets[chosen]) for split, chosen in places.items()}
    return Task(
        name="text",
        input_shape=(n_tokens,),
        n_outputs=len(names),
        class_names=tuple(str(name) for name in names),
        preprocessing=preprocessing,
        augmentation="drop-words",
        source=f"texts in {data.name}; {how}",
        fingerprint=fingerprint_of(splits, [*map(str, names), *preprocessing.vocabulary]),
        **splits,
    )


def _length(texts: Sequence[str]) -> int:
    usual = np.percentile([len(words_of(text)) for text in texts], PERCENTILE)
    return int(np.ceil(np.clip(usual, LEAST_TOKENS, MOST_TOKENS) / STEP)) * STEP


def _as_numbers(found: list[Sentence]) -> list[Sentence]:
    """CSV knows only words: where all labels are whole numbers, they are sorted as such."""
    if not all(isinstance(s.label, str) and s.label.isascii() and s.label.isdigit() for s in found):
        return found
    return [Sentence(s.name, s.text, int(s.label), s.split) for s in found]


def _files(data: Path) -> list[tuple[Path, str | None]]:
    """The files that a path holds, and the split that a file's name tells."""
    if not data.exists():
        raise DataError(f"{data} does not exist; {LAYOUTS}")
    if data.is_file():
        if data.suffix.lower() not in (".csv", ".parquet"):
            raise DataError(f"{data}: suffix {data.suffix!r} is not read; {LAYOUTS}")
        return [(data, None)]
    files = sorted(path for path in data.iterdir() if path.suffix.lower() in (".csv", ".parquet") and path.is_file())
    if not files:
        got = ", ".join(sorted(path.name for path in data.iterdir())[:3]) or "nothing"
        raise DataError(f"{data} has no .csv and no .parquet files, got {got}; {LAYOUTS}")
    named = {path: SPLIT_NAMES.get(path.stem.lower().replace("_", "-").split("-")[0]) for path in files}
    if "train" not in named.values():  # one of them may be called "test" by chance
        return [(path, None) for path in files]
    if unnamed := [path.name for path, split in named.items() if split is None]:
        raise DataError(f"{data}: {unnamed[0]} names no split, though others do; rename or move it")
    return list(named.items())


def _read(path: Path, split: str | None) -> Iterator[Sentence]:
    rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    for name, text, label, own in rows:
        if not isinstance(text, str):
            raise DataError(f"{name}: no text, got {text!r}; fill it or remove the row")
        if label is None or label == "":
            raise DataError(f"{name}: no label; fill it or remove the row")
        yield Sentence(name, text, label, split if own in (None, "") else split_named(name, own))


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any, Any, Any]]:
    columns = read_columns(path)
    label_column = pick_column(path, list(columns), LABEL_COLUMNS, "labels")
    text_column = pick_column(path, list(columns), TEXT_COLUMNS, "texts")
    labels = read_labels(path, label_column, columns[label_column])
    texts = columns[text_column].to_pylist()
    named = columns["split"].to_pylist() if "split" in columns else [None] * len(labels)
    for row, (text, label, own) in enumerate(zip(texts, labels, named, strict=True)):
        yield f"{path} row {row}", text, label, own


def _csv_rows(path: Path) -> Iterator[tuple[str, Any, Any, Any]]:
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{path} has more than {MAX_BYTES // 1024**3} GiB; use fewer texts, or parquet")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            names = [name for name in reader.fieldnames or [] if name]
            label_column = pick_column(path, names, LABEL_COLUMNS, "labels")
            text_column = pick_column(path, names, TEXT_COLUMNS, "texts")
            for row in reader:
                name = f"{path} line {reader.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{name}: it has not {len(names)} columns as the header; quote texts with commas")
                yield name, row[text_column], row[label_column], row.get("split")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}: {error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: not CSV ({error}); write it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
