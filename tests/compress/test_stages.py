from __future__ import annotations

import pytest

from hwnas.compress.stages import find_stages

BLOCKS = [f"layer{stage}.{block}.{name}" for stage in (1, 2, 3) for block in (0, 1, 2) for name in ("conv1", "conv2")]


@pytest.mark.parametrize(
    ("names", "stages"),
    [
        (["0", "3"], ["0", "3"]),
        (["conv"], ["conv"]),
        (["net.a.0", "net.a.1", "net.b"], ["net.a.0", "net.a.1", "net.b"]),
        (
            ["stem.0", *BLOCKS],
            ["stem", *(f"layer{stage}.{block}" for stage in (1, 2) for block in (0, 1, 2)), "layer3"],
        ),
        ([f"layer{i}.{b}" for i in range(4) for b in range(9)], [f"layer{i}" for i in range(4)]),
    ],
)
def test_stages_follow_the_module_tree(names: list[str], stages: list[str]) -> None:
    found = find_stages(names)
    assert list(found) == stages
    assert [place for part in found.values() for place in part] == list(range(len(names)))


@pytest.mark.parametrize("count", [1, 8, 9, 20, 53])
@pytest.mark.parametrize("most", [1, 3, 8])
def test_there_are_never_too_many(count: int, most: int) -> None:
    found = find_stages([f"features.{place}" for place in range(count)], most)
    assert len(found) <= most
    assert [place for part in found.values() for place in part] == list(range(count))


def test_neighbours_become_one_stage() -> None:
    assert find_stages(["a", "b", "c", "d"], 2) == {"a-b": (0, 1), "c-d": (2, 3)}
