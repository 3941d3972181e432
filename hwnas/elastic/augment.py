"""Random variation of training samples, a whole batch at once: images, waveforms and texts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hwnas.core.tokens import PAD, UNKNOWN
from hwnas.errors import ConfigError

__all__ = ["AUGMENTATIONS", "DROPPED", "MAX_SHIFT", "augment"]

AUGMENTATIONS = ("none", "shift", "flip-shift", "waveform", "drop-words")
MAX_SHIFT = 0.12  # of the side, or of the length of a waveform, to each direction
SPEEDS = (0.85, 1.18)  # of a waveform
GAINS_DB = (-6.0, 6.0)
NOISE_DB = (-50.0, -15.0)  # of its white noise, below its own level
DROPPED = 0.1  # share of words that training does not see


def augment(batch: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Vary each sample of a training batch on its own; shape, type, device and memory layout stay.

    Args:
        batch: `n x channels x height x width`: normalised images are padded with 0, their mean colour. Or waveforms
            `n x 1 x samples`, or ids `n x tokens`.
        kind: "none"; "shift": up to 12 % of the side (rounded to pixels) in both directions; "flip-shift": a
            mirror image half of the time as well; "waveform": speed (one for the batch), a shift of up to 12 % of the
            length, gain and noise; "drop-words": a tenth of the words become unknown ones.
        generator: a CPU generator; the same state gives the same samples on every device.
    Raises:
        ConfigError: unknown kind.
    """
    if kind not in AUGMENTATIONS:
        raise ConfigError(f"augmentation {kind!r} is not known; use one of: {', '.join(AUGMENTATIONS)}")
    if kind == "none":
        return batch
    if kind == "waveform":
        return _noisy(_moved(_sped(batch, generator), generator), generator)
    if kind == "drop-words":
        return _drop_words(batch, generator)
    return _shift(_flip(batch, generator) if kind == "flip-shift" else batch, generator)


def _between(bounds: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(count, 1, 1, generator=generator)


def _sped(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Played faster or slower, cut or padded at both ends to the length that it had.

    Source: Ko et al., Audio Augmentation for Speech Recognition, Interspeech 2015.
    """
    length = batch.shape[2]
    played = round(length / float(_between(SPEEDS, 1, generator)))
    found = functional.interpolate(batch, size=played, mode="linear", align_corners=False)
    before = (length - played) // 2
    return functional.pad(found, (before, length - played - before))  # a negative margin cuts


def _moved(batch: Tensor, generator: torch.Generator) -> Tensor:
    length = batch.shape[2]
    reach = round(MAX_SHIFT * length)
    starts = torch.randint(2 * reach + 1, (len(batch),), generator=generator).to(batch.device)
    windows = functional.pad(batch, (reach, reach)).unfold(2, length, 1)
    return windows[torch.arange(len(batch), device=batch.device), :, starts]


def _noisy(batch: Tensor, generator: torch.Generator) -> Tensor:
    gain = 10 ** (_between(GAINS_DB, len(batch), generator) / 20)
    share = 10 ** (_between(NOISE_DB, len(batch), generator) / 20)
    noise = torch.randn(batch.shape, generator=generator) * share
    level = batch.square().mean((1, 2), keepdim=True).sqrt()
    return ((batch + noise.to(batch.device) * level) * gain.to(batch.device)).clamp_(-1, 1)


def _drop_words(batch: Tensor, generator: torch.Generator) -> Tensor:
    dropped = torch.rand(batch.shape, generator=generator) < DROPPED
    return batch.masked_fill(dropped.to(batch.device) & (batch != PAD), UNKNOWN)


def _flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    mirrored = torch.rand(len(batch), generator=generator) < 0.5
    return torch.where(mirrored.to(batch.device)[:, None, None, None], batch.flip(3), batch)


def _shift(batch: Tensor, generator: torch.Generator) -> Tensor:
    height, width = batch.shape[2:]
    reach_y, reach_x = round(MAX_SHIFT * height), round(MAX_SHIFT * width)
    padded = functional.pad(batch, (reach_x, reach_x, reach_y, reach_y))
    top = torch.randint(2 * reach_y + 1, (len(batch),), generator=generator).to(batch.device)
    left = torch.randint(2 * reach_x + 1, (len(batch),), generator=generator).to(batch.device)
    # A view of every window of the padded images; indexing it copies one window an image.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    shifted = windows[torch.arange(len(batch), device=batch.device), :, top, left]
    last = batch.is_contiguous(memory_format=torch.channels_last)
    return shifted.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
