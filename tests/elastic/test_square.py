from __future__ import annotations

import pytest

from hwnas.elastic.square import halved, image_sizes


@pytest.mark.parametrize("side", [8, 12, 16, 28, 32, 64, 96, 160, 224])
def test_the_last_feature_map_has_2_to_7_pixels_a_side(side: int) -> None:
    for _ in halved(side):
        side = -(-side // 2)
    assert 2 <= side <= 7


@pytest.mark.parametrize(
    ("side", "sizes"), [(8, (8,)), (16, (8, 12, 16)), (32, (16, 20, 24, 28, 32)), (224, (112, 140, 168, 196, 224))]
)
def test_resolutions_are_half_to_full(side: int, sizes: tuple[int, ...]) -> None:
    assert image_sizes(side) == sizes
