from __future__ import annotations

import pytest
import torch

from hwnas.core.tokens import PAD, UNKNOWN
from hwnas.elastic.augment import AUGMENTATIONS, DROPPED, augment
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


IMAGE_KINDS = AUGMENTATIONS[:3]


@pytest.mark.parametrize("kind", IMAGE_KINDS)
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


def test_waveforms_keep_their_length_and_their_word() -> None:
    time_s = torch.arange(4000) / 8000
    batch = (0.3 * torch.sin(2 * torch.pi * 500 * time_s)).repeat(16, 1, 1)
    found = augment(batch, "waveform", generator())
    assert found.shape == batch.shape
    assert found.abs().max() <= 1
    peaks = torch.fft.rfft(found[:, 0]).abs().argmax(dim=1) * 2.0  # Hz
    assert (peaks - 500).abs().max() < 0.2 * 500  # as fast as SPEEDS allow
    assert len({float(peak) for peak in peaks}) <= 2  # one speed for the batch
    levels = found.square().mean((1, 2)).sqrt()
    assert levels.max() / levels.min() > 1.3
    assert not torch.equal(found[0], found[1])


def test_loud_waveforms_are_clipped_and_silent_ones_stay_silent() -> None:
    assert augment(torch.ones(8, 1, 400), "waveform", generator()).max() == 1
    assert (augment(torch.zeros(8, 1, 400), "waveform", generator()) == 0).all()


def test_a_tenth_of_the_words_become_unknown_and_padding_stays() -> None:
    batch = torch.randint(2, 90, (400, 20), generator=generator())
    batch[:, 15:] = PAD
    found = augment(batch, "drop-words", generator(1))
    assert found.dtype == torch.int64
    assert (found[:, 15:] == PAD).all()
    changed = found != batch
    assert (found[changed] == UNKNOWN).all()
    assert changed[:, :15].float().mean().item() == pytest.approx(DROPPED, abs=0.015)


@pytest.mark.parametrize("kind", ["waveform", "drop-words"])
def test_the_same_state_gives_the_same_samples(kind: str) -> None:
    batch = torch.randn(4, 1, 400) if kind == "waveform" else torch.randint(2, 9, (4, 9))
    assert torch.equal(augment(batch, kind, generator(3)), augment(batch, kind, generator(3)))
