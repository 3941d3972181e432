from __future__ import annotations

import pytest
import torch

from hwnas.elastic.augment import AUGMENTATIONS, augment
from hwnas.errors import ConfigError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shifted(image: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    """Slow twin: move an image `c x h x w`, zeros come in."""
    out = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y + dy < height and 0 <= x + dx < width:
                out[:, y, x] = image[:, y + dy, x + dx]
    return out


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (3, 3, 32, 24), (1, 3, 4, 4), (0, 1, 8, 8)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shape_type_and_layout_stay(kind: str, shape: tuple[int, ...], layout: torch.memory_format) -> None:
    batch = torch.randn(shape).to(memory_format=layout)
    found = augment(batch, kind, generator())
    assert found.shape == batch.shape
    assert found.dtype == batch.dtype
    assert found.is_contiguous(memory_format=layout)


def test_none_changes_nothing() -> None:
    batch = torch.randn(2, 1, 8, 8)
    assert augment(batch, "none", generator()) is batch


@pytest.mark.parametrize(("side", "reach"), [(8, 1), (16, 2), (32, 4)])
def test_every_image_is_a_shift_of_itself(side: int, reach: int) -> None:
    batch = torch.randn(60, 2, side, side)
    moves = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    seen = set()
    for before, after in zip(batch[:12], augment(batch, "shift", generator())[:12], strict=True):
        found = [move for move in moves if torch.equal(shifted(before, *move), after)]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 3


def test_half_are_mirrored() -> None:
    # A side of 4 px is too small to shift, so that mirroring is left alone.
    batch = torch.randn(400, 1, 4, 4)
    found = augment(batch, "flip-shift", generator())
    same = sum(torch.equal(a, b) for a, b in zip(batch, found, strict=True))
    mirrored = sum(torch.equal(a.flip(2), b) for a, b in zip(batch, found, strict=True))
    assert same + mirrored == 400
    assert 150 < mirrored < 250


def test_the_input_is_not_changed() -> None:
    batch = torch.randn(4, 3, 16, 16)
    before = batch.clone()
    augment(batch, "flip-shift", generator())
    assert torch.equal(batch, before)


def test_the_same_generator_gives_the_same_images() -> None:
    batch = torch.randn(8, 3, 16, 16)
    a, b, c = (augment(batch, "flip-shift", generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_unknown_kind() -> None:
    with pytest.raises(ConfigError, match="'rotate' is not known; use one of: none, shift, flip-shift"):
        augment(torch.zeros(1, 1, 8, 8), "rotate", generator())
