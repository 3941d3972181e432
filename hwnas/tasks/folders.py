"""The user's own images on disk: which splits there are, and the pictures of each."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import DataError
from hwnas.tasks.parquet import read_pictures
from hwnas.tasks.pictures import SUFFIXES, Picture

__all__ = ["find_pictures"]

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
# Files that often lie beside images; anything else that is not an image is an error, so that none is left out silently.
NOTES = {"", ".txt", ".md", ".json", ".csv", ".xml", ".yaml", ".yml", ".ini", ".db", ".html", ".rst", ".log"}
LAYOUTS = (
    "give a folder per class, or train/ val/ test/ with a folder per class in each, or parquet files with an image and "
    "a label column"
)


def find_pictures(data: Path) -> dict[str, list[Picture]]:
    """List the images that a path holds, without opening them.

    Returns:
        The pictures of each split that the path names ("train", "validation", "test"), or of "all" if it names none.
    Raises:
        DataError: nothing there, or it is arranged in none of the ways that are read.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist; {LAYOUTS}")
    if data.is_file():
        if data.suffix != ".parquet":
            raise DataError(f"{data}: suffix {data.suffix!r} is not read, only .parquet or a folder; {LAYOUTS}")
        return _non_empty(data, {"all": read_pictures(data)})
    entries = sorted(path for path in data.iterdir() if not path.name.startswith("."))
    if files := [path for path in entries if path.suffix == ".parquet" and path.is_file()]:
        return _non_empty(data, _from_parquet(files))
    folders = [path for path in entries if path.is_dir()]
    if not folders:
        found = ", ".join(path.name for path in entries[:3]) or "nothing"
        raise DataError(f"{data} has no class folders and no parquet files, got {found}; {LAYOUTS}")
    named = {path: SPLIT_NAMES.get(path.name.lower()) for path in folders}
    # A class may be called "train": only a folder of nothing but splits is a folder of splits.
    if None in named.values() or "train" not in named.values():
        return _non_empty(data, {"all": _from_classes(data, folders)})
    splits: dict[str, list[Picture]] = {}
    for folder, split in named.items():
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        splits.setdefault(str(split), []).extend(_from_classes(folder, classes))
    return _non_empty(data, splits)


def _from_parquet(files: list[Path]) -> dict[str, list[Picture]]:
    """Parquet files by the split that begins their name ("train-00000-of-00002.parquet"), or all as one."""
    named = {path: SPLIT_NAMES.get(path.stem.lower().replace("_", "-").split("-")[0]) for path in files}
    if None in named.values() or "train" not in named.values():
        return {"all": [picture for path in files for picture in read_pictures(path)]}
    splits: dict[str, list[Picture]] = {}
    for path, split in named.items():
        splits.setdefault(str(split), []).extend(read_pictures(path))
    return splits


def _from_classes(data: Path, folders: list[Path]) -> list[Picture]:
    pictures: list[Picture] = []
    for folder in folders:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        others = [path for path in files if path.suffix.lower() not in (*SUFFIXES, *NOTES)]
        if others:
            raise DataError(
                f"{others[0]}: suffix {others[0].suffix!r} is not read; convert or remove {len(others)} such files. "
                f"Read are: {', '.join(SUFFIXES)}"
            )
        if not images:
            raise DataError(
                f"class folder {folder} holds no images; fill or remove it. Read are: {', '.join(SUFFIXES)}"
            )
        pictures += [Picture(str(path), path, folder.name) for path in images]
    if not pictures:
        raise DataError(f"{data} has no class folders; {LAYOUTS}")
    return pictures


def _non_empty(data: Path, splits: dict[str, list[Picture]]) -> dict[str, list[Picture]]:
    if empty := [name for name, pictures in splits.items() if not pictures]:
        raise DataError(f"{data}: no images in {', '.join(empty)}; {LAYOUTS}")
    return splits
