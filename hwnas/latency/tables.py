"""Tables of networks: one row a network, one column a choice (and, for calibration, one of latencies)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwnas.core.architecture import Value
from hwnas.errors import DataError

__all__ = ["TABLES", "read_table"]

TABLES = (".csv", ".parquet")  # suffixes of the files that are tables


def read_table(
    path: Path, columns: Sequence[str] | None = None, *, optional: Sequence[str] = ()
) -> list[dict[str, Value]]:
    """Read a CSV file with a header, or a parquet file; numbers in CSV become numbers. Rows are in the file's order.

    Args:
        path: its suffix, `.csv` or `.parquet`, says what it is.
        columns: those that are needed; all others are left out, but for `optional`. None: all.
        optional: columns that are read if they are there; where a row has no value, its mapping lacks the key.
    Raises:
        DataError: the file is missing, of another kind, broken or empty, a column is missing or named twice, or a row
            has no value in a needed column; the message names row (from 1, the header not counted) and column.
    """
    if not path.is_file():
        raise DataError(f"no file {path}; give a table with a header and a network a row")
    read = {".csv": _read_csv, ".parquet": _read_parquet}.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path} is no table; allowed: files that end in {', '.join(TABLES)}")
    names, rows = read(path, None if columns is None else {*columns, *optional})
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: columns {twice} are there twice; name each column once")
    needed = [name for name in names if name not in optional] if columns is None else list(columns)
    if missing := [name for name in needed if name not in names]:
        raise DataError(f"{path}: no column {', '.join(map(repr, missing))}; it has {', '.join(names) or 'none'}")
    if not rows:
        raise DataError(f"{path} has no rows; give a network a row")
    wanted = [name for name in names if name in needed or name in optional]
    found = []
    for number, row in enumerate(rows, start=1):
        values = {name: row[name] for name in wanted if row.get(name) is not None}
        for name in wanted:
            if name not in values and name not in optional:
                raise DataError(f"{path}, row {number}: no value in column {name!r}; fill it or remove the row")
            if not isinstance(values.get(name, ""), (int, float, str)):
                raise DataError(
                    f"{path}, row {number}, column {name!r}: {type(values[name]).__name__} is no number and no text"
                )
        found.append(values)
    return found


def _read_csv(path: Path, wanted: set[str] | None) -> tuple[list[str], list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            names = [name.strip() for name in next(reader, [])]
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise DataError(
                        f"{path}, row {len(rows) + 1}: {len(cells)} cells for {len(names)} columns; separate by commas"
                    )
                rows.append({name: _value(cell.strip()) for name, cell in zip(names, cells, strict=True)})
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}, row {len(rows) + 1}: cannot be read as CSV in UTF-8 ({error})") from error
    return names, rows


def _value(cell: str) -> Value | None:
    """A number if it is written as one, else text; None if it is empty."""
    if not cell:
        return None
    for kind in (int, float):
        # int() and float() also take "1_000", "nan" and digits of other scripts, which are text here.
        if cell.isascii() and "_" not in cell and cell.lower().strip("+-") not in ("nan", "inf", "infinity"):
            try:
                return kind(cell)
            except ValueError:
                continue
    return cell


def _read_parquet(path: Path, wanted: set[str] | None) -> tuple[list[str], list[dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = list(pq.read_schema(path).names)
        kept = [name for name in dict.fromkeys(names) if wanted is None or name in wanted]
        if len(set(names)) < len(names):
            return names, []
        return names, list(pq.read_table(path, columns=kept).to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({error}); write it again") from error
