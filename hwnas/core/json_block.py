"""Reading a JSON object key by key, so that whatever is wrong is named by its place in the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hwnas.errors import RunFolderError

__all__ = ["Block"]


class Block:
    """A JSON object of a run folder whose values are checked when they are read.

    Args:
        raw: what `json.loads` gave.
        where: place of the object in its file, such as "models[0].accuracy"; "" is the file itself.
        keys: the keys it must have, no more and no fewer; None allows any.
    Raises:
        RunFolderError: not an object, or its keys differ; so does every method for a value of another type.
    """

    def __init__(self, raw: object, where: str, keys: tuple[str, ...] | None) -> None:
        self.where = where
        if not isinstance(raw, Mapping):
            raise _damaged(where or "the file", "an object", raw)
        self.raw: Mapping[str, Any] = raw
        if keys is None:
            return
        for word, odd in (("missing", set(keys) - raw.keys()), ("not known", raw.keys() - set(keys))):
            if odd:
                places = ", ".join(self._place(str(key)) for key in sorted(odd))
                raise RunFolderError(f"damaged: {places} {word}; restore the file, or search again into a new --out")

    def _place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def wrong(self, key: str, wanted: str) -> RunFolderError:
        """The error that says what the value of `key` must be and what it is."""
        return _damaged(self._place(key), wanted, self.raw[key])

    def text(self, key: str) -> str:
        """A text that is not empty."""
        if not isinstance(value := self.raw[key], str) or not value:
            raise self.wrong(key, "a text")
        return value

    def flag(self, key: str) -> bool:
        """True or False."""
        if not isinstance(value := self.raw[key], bool):
            raise self.wrong(key, "true or false")
        return value

    def whole(self, key: str) -> int:
        """A whole number."""
        if not isinstance(value := self.raw[key], int) or isinstance(value, bool):
            raise self.wrong(key, "a whole number")
        return value

    def count(self, key: str) -> int:
        """A whole number, 0 or more."""
        if (value := self.whole(key)) < 0:
            raise self.wrong(key, "0 or more")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self.raw[key]
        # json.loads reads NaN and Infinity, which no file of hwnas holds.
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def positive(self, key: str) -> float:
        """A finite number above 0."""
        if (value := self.number(key)) <= 0:
            raise self.wrong(key, "more than 0")
        return value

    def items(self, key: str) -> list[Any]:
        """A list."""
        if not isinstance(value := self.raw[key], list):
            raise self.wrong(key, "a list")
        return value

    def block(self, key: str, keys: tuple[str, ...] | None = None) -> Block:
        """The object at `key`."""
        return Block(self.raw[key], self._place(key), keys)


def _damaged(place: str, wanted: str, got: object) -> RunFolderError:
    shown = repr(got) if len(repr(got)) <= 40 else f"{repr(got)[:37]}..."
    return RunFolderError(f"damaged: {place} must be {wanted}, got {shown}; restore the file, or search again")
