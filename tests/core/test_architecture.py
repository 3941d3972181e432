from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.core.architecture import Architecture, short_hash
from hwnas.errors import InvalidArchitectureError

VALUES = st.dictionaries(st.text(min_size=1, max_size=5), st.integers() | st.text(max_size=5), max_size=6)


@given(VALUES)
def test_it_is_the_mapping_it_was_made_of(values: dict[str, int | str]) -> None:
    architecture = Architecture.of("s", values)
    assert dict(architecture) == values
    assert len(architecture) == len(values)
    assert list(architecture) == sorted(values)


@given(VALUES)
def test_order_does_not_matter(values: dict[str, int | str]) -> None:
    backwards = dict(reversed(values.items()))
    a, b = Architecture.of("s", values), Architecture.of("s", backwards)
    assert a == b
    assert hash(a) == hash(b)
    assert a.id == b.id


def test_id_depends_on_space_and_values() -> None:
    ids = {Architecture.of(s, {"w": w}).id for s in ("a", "b") for w in (8, 16, "8")}
    assert len(ids) == 6


def test_id_is_the_same_everywhere() -> None:
    # sha256 of '["s",[["w",8]]]'
    assert Architecture.of("s", {"w": 8}).id == short_hash(["s", [["w", 8]]])
    assert len(Architecture.of("s", {"w": 8}).id) == 10


def test_unknown_label() -> None:
    with pytest.raises(KeyError):
        Architecture.of("s", {"w": 8})["depth"]


@pytest.mark.parametrize("choices", [(("b", 1), ("a", 1)), (("a", 1), ("a", 2))])
def test_labels_are_sorted_and_unique(choices: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(InvalidArchitectureError, match="sorted and unique"):
        Architecture("s", choices)
