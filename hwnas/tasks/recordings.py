"""The user's own recordings: folders of WAV files, or parquet files with samples in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError
from hwnas.tasks.divide import SPLIT_NAMES, split_named
from hwnas.tasks.parquet import LABEL_COLUMNS, pick_column, read_columns, read_labels
from hwnas.tasks.waves import Clip, mono, read_wav

__all__ = ["LAYOUTS", "find_clips"]

SOUND_COLUMNS = ("pcm_s16le", "pcm", "audio", "wav", "samples", "waveform")
LAYOUTS = (
    "give a folder a word with WAV files in it, or train/ val/ test/ with such folders, or parquet files with a label "
    f"and one of: {', '.join(SOUND_COLUMNS)}"
)
SPEAKER_MARK = "_nohash_"  # Speech Commands: what stands before it says who speaks


def find_clips(data: Path) -> list[Clip]:
    """Read all recordings that a path holds.

    Folders whose names begin with "_" or "." are left out (Speech Commands keeps its noise in such a one).

    Raises:
        DataError: nothing there, arranged in none of the ways that are read, or a recording is broken.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist; {LAYOUTS}")
    if data.is_file():
        if data.suffix != ".parquet":
            raise DataError(f"{data}: suffix {data.suffix!r} is not read, only .parquet or a folder; {LAYOUTS}")
        return list(_from_parquet(data, None))
    entries = sorted(path for path in data.iterdir() if not path.name.startswith((".", "_")))
    if files := [path for path in entries if path.suffix == ".parquet" and path.is_file()]:
        return [clip for path in files for clip in _from_parquet(path, _split_of(path.stem.split("-")[0]))]
    folders = [path for path in entries if path.is_dir()]
    splits = {path: _split_of(path.name) for path in folders}
    # A word may be "test": only a folder of nothing but splits is a folder of splits.
    if folders and None not in splits.values() and "train" in splits.values():
        return [clip for folder, split in splits.items() for clip in _from_words(folder, split)]
    return list(_from_words(data, None))


def _split_of(name: str) -> str | None:
    return SPLIT_NAMES.get(name.lower())


def _from_words(data: Path, split: str | None) -> Iterator[Clip]:
    words = sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))
    if not words:
        found = ", ".join(sorted(path.name for path in data.iterdir())[:3]) or "nothing"
        raise DataError(f"{data} has no folders of words and no parquet files, got {found}; {LAYOUTS}")
    for word in words:
        files = sorted(path for path in word.rglob("*") if path.suffix.lower() == ".wav" and path.is_file())
        if not files:
            raise DataError(f"folder {word} holds no WAV files; fill or remove it. {LAYOUTS}")
        for path in files:
            samples, rate = read_wav(str(path), path)
            speaker, mark, _ = path.stem.partition(SPEAKER_MARK)
            yield Clip(str(path), samples, rate, word.name, split, speaker if mark else None)


def _from_parquet(path: Path, split: str | None) -> Iterator[Clip]:
    columns = read_columns(path)
    sound = pick_column(path, list(columns), SOUND_COLUMNS, "recordings")
    labels = read_labels(path, *_first(path, columns, LABEL_COLUMNS))
    rates = columns["sample_rate"].to_pylist() if "sample_rate" in columns else [None] * len(labels)
    named = columns["split"].to_pylist() if "split" in columns else [split] * len(labels)
    speakers = columns["speaker"].to_pylist() if "speaker" in columns else [None] * len(labels)
    for row, value in enumerate(columns[sound]):
        name = f"{path} row {row}"
        samples, rate = _samples(name, sound, value.as_py(), rates[row])
        own = None if named[row] is None else split_named(name, named[row])
        speaker = None if speakers[row] is None else str(speakers[row])
        yield Clip(name, samples, rate, labels[row], own, speaker)


def _first(path: Path, columns: dict[str, Any], wanted: tuple[str, ...]) -> tuple[str, Any]:
    name = pick_column(path, list(columns), wanted, "labels")
    return name, columns[name]


def _samples(name: str, column: str, value: Any, rate: Any) -> tuple[NDArray[np.int16], int]:
    """Samples of one row: raw 16-bit ones or a whole WAV file as bytes, or numbers in -1..1."""
    if isinstance(value, dict):  # as Hugging Face keeps sound
        rate, value = value.get("sampling_rate", rate), value.get("bytes", value.get("array"))
    if isinstance(value, bytes) and value[:4] == b"RIFF":
        return read_wav(name, value)
    if value is None:
        raise DataError(f"{name}: no recording in column {column!r}; fill it or remove the row")
    if not isinstance(rate, int):
        raise DataError(f"{name}: column 'sample_rate' must give the rate of column {column!r} in Hz, got {rate!r}")
    if isinstance(value, bytes):
        if len(value) % 2:
            raise DataError(f"{name}: {len(value)} bytes are no 16-bit samples; give little-endian PCM in {column!r}")
        return np.frombuffer(value, dtype="<i2").astype(np.int16), rate
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: column {column!r} holds no samples ({error}); {LAYOUTS}") from error
    if not np.isfinite(values).all():
        raise DataError(f"{name}: a sample is NaN or infinite; repair or remove the row")
    if values.ndim != 1 or (values.size and np.abs(values).max() > 1):
        raise DataError(f"{name}: samples must be one row of numbers in -1..1; scale them, or give 16-bit PCM as bytes")
    return mono(values[:, None]), rate
