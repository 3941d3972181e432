"""Labelled images in parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.errors import DataError, RunFolderError
from hwnas.store import inside
from hwnas.tasks.pictures import Picture

__all__ = ["IMAGE_COLUMNS", "LABEL_COLUMNS", "pick_column", "read_columns", "read_labels", "read_pictures"]

IMAGE_COLUMNS = ("image", "jpeg", "png", "img")
LABEL_COLUMNS = ("label", "class", "target")


def read_pictures(path: Path) -> list[Picture]:
    """Read a file with one column of images and one of labels.

    Images are bytes, or structs of `bytes` and `path` (a path is read where there are no bytes, and must stay in the
    file's folder). Labels are integers or strings.

    Raises:
        DataError: the file is not parquet, has no such columns, or a row has no image or no label.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
        image_column = pick_column(path, names, IMAGE_COLUMNS, "images")
        label_column = pick_column(path, names, LABEL_COLUMNS, "labels")
        table = pq.read_table(path, columns=[image_column, label_column])
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({error}); write it again") from error
    labels = read_labels(path, label_column, table[label_column].combine_chunks())
    images = table[image_column].combine_chunks()
    if not _is_image_type(images.type):
        raise DataError(
            f"{path}: column {image_column!r} holds {images.type}; images must be bytes of encoded images (PNG, JPEG) "
            "or structs of bytes and path"
        )
    rows = enumerate(zip(images.to_pylist(), labels, strict=True))
    return [Picture(f"{path} row {row}", _source(path, row, image), label) for row, (image, label) in rows]


def read_columns(path: Path) -> dict[str, Any]:
    """All columns of a file, each an array of pyarrow.

    Raises:
        DataError: the file is not parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({error}); write it again") from error
    return {name: table[name].combine_chunks() for name in table.column_names}


def pick_column(path: Path, names: list[str], wanted: tuple[str, ...], what: str) -> str:
    """The first of the wanted names that is there.

    Raises:
        DataError: none is.
    """
    for name in wanted:
        if name in names:
            return name
    raise DataError(
        f"{path}: no column of {what}; it has {', '.join(names)}. Name the column one of {', '.join(wanted)}"
    )


def read_labels(path: Path, column: str, values: Any) -> list[str | int]:
    """Integers or strings, one a row.

    Raises:
        DataError: they are of another kind, or one is missing.
    """
    import pyarrow as pa

    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise DataError(f"{path}: column {column!r} holds {kind}; labels must be integers or strings")
    if values.null_count:
        row = next(index for index, value in enumerate(values) if not value.is_valid)
        raise DataError(f"{path} row {row}: no label; fill column {column!r} or remove the row")
    labels: list[str | int] = values.to_pylist()
    return labels


def _is_image_type(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(kind.field(i).name in ("bytes", "path") for i in range(kind.num_fields))
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _source(path: Path, row: int, image: Any) -> Path | bytes:
    if isinstance(image, bytes):
        return image
    entry = image or {}
    if isinstance(entry.get("bytes"), bytes):
        return bytes(entry["bytes"])
    if not isinstance(entry.get("path"), str):
        raise DataError(f"{path} row {row}: no image; fill it or remove the row")
    try:
        return inside(path.parent, entry["path"])
    except RunFolderError as error:
        raise DataError(
            f"{path} row {row}: path {entry['path']!r} leaves the folder; move the image into it"
        ) from error
