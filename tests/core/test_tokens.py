from __future__ import annotations

import re

import numpy as np
import pytest

from hwnas.core.tokens import PAD, UNKNOWN, TokenPreprocessing, common_words, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("Well-made, wo n't!", ["well", "-", "made", ",", "wo", "n't", "!"]),
        ("ÜBER 3.5 €", ["über", "3", ".", "5", "€"]),
        ("rock'n'roll '90s", ["rock'n'roll", "'", "90s"]),
    ],
)
def test_words_and_punctuation(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_the_vocabulary_is_the_commonest_words_first() -> None:
    assert common_words(["b a b", "a c b", "d d"], 5) == ("<pad>", "<unk>", "b", "a", "d")
    assert common_words(["b a b", "a c b"], 3) == ("<pad>", "<unk>", "b")
    assert common_words(["c b a"], 9, least_count=1) == ("<pad>", "<unk>", "a", "b", "c")


def test_ids_are_padded_at_the_end_and_long_texts_lose_theirs() -> None:
    tokens = TokenPreprocessing(4, ("<pad>", "<unk>", "good", "film"))
    ids = tokens.encode(["Good film", "a good good film film", ""])
    assert ids.dtype == np.int64
    assert ids.tolist() == [[2, 3, PAD, PAD], [UNKNOWN, 2, 2, 3], [PAD] * 4]
    assert tokens(ids) is not None
    assert tokens.n_ids == 4


def test_a_colleague_gets_the_same_ids_from_the_manifest_alone() -> None:
    texts = ["A fine film , is n't it ?", "dull , dull , dull .", "fine"]
    tokens = TokenPreprocessing(6, common_words(texts, 100, least_count=1))
    manifest = tokens.to_json()

    vocabulary = manifest["vocabulary"].split(" ")
    places = {word: number for number, word in enumerate(vocabulary)}
    rows = []
    for text in texts:
        words = re.findall(manifest["pattern"], text.lower())[: manifest["tokens"]]
        ids = [places.get(word, manifest["unknown"]) for word in words]
        rows.append(ids + [manifest["pad"]] * (manifest["tokens"] - len(ids)))

    assert tokens.encode(texts).tolist() == rows
    assert len(vocabulary) == tokens.n_ids
