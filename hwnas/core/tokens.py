"""Tokens: how a text becomes a row of ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PAD", "PATTERN", "UNKNOWN", "TokenPreprocessing", "common_words", "words_of"]

# A word with what hangs on it by an apostrophe, or one other character that is not a space.
PATTERN = r"\w+(?:'\w+)*|[^\w\s]"
PAD, UNKNOWN = 0, 1  # the first two ids
_SPECIAL = ("<pad>", "<unk>")


def words_of(text: str) -> list[str]:
    """Words and punctuation of a text, lower case."""
    return re.findall(PATTERN, text.lower())


def common_words(texts: Iterable[str], most: int, *, least_count: int = 2) -> tuple[str, ...]:
    """A vocabulary: <pad>, <unk>, then the commonest words, equally common ones in the order of the alphabet.

    Args:
        most: words at most, the first two included.
        least_count: a word that is met less often is left out.
    """
    counts = Counter(word for text in texts for word in words_of(text))
    order = sorted((-count, word) for word, count in counts.items() if count >= least_count)
    return (*_SPECIAL, *[word for _, word in order[: most - len(_SPECIAL)]])


@dataclass(frozen=True)
class TokenPreprocessing:
    """Text -> lower case -> words and punctuation -> ids, cut or padded with <pad> at the end.

    Attributes:
        n_tokens: of a text; what is longer loses its end.
        vocabulary: the word of each id, <pad> and <unk> first.
    """

    n_tokens: int
    vocabulary: tuple[str, ...] = field(repr=False)

    @property
    def n_ids(self) -> int:
        """How many ids there are."""
        return len(self.vocabulary)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary)}

    def encode(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """`n` texts -> `n x n_tokens` ids."""
        found = np.full((len(texts), self.n_tokens), PAD, dtype=np.int64)
        for row, text in zip(found, texts, strict=True):
            ids = [self._ids.get(word, UNKNOWN) for word in words_of(text)[: self.n_tokens]]
            row[: len(ids)] = ids
        return found

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.int64]:
        """`n x n_tokens` ids as they are: splits hold encoded texts."""
        return np.asarray(inputs, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest; the vocabulary is one line, because no word holds a space."""
        return {
            "kind": "tokens",
            "layout": "NT",
            "case": "lower",
            "pattern": PATTERN,
            "tokens": self.n_tokens,
            "pad": PAD,
            "unknown": UNKNOWN,
            "vocabulary": " ".join(self.vocabulary),
        }
