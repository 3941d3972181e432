"""Random variation of training images: shifts and mirror images, a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import ConfigError

__all__ = ["AUGMENTATIONS", "MAX_SHIFT", "augment"]

AUGMENTATIONS = ("none", "shift", "flip-shift")
MAX_SHIFT = 0.12  # of the side, to each direction


def augment(batch: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Vary each image of a training batch on its own; shape, type, device and memory layout stay.

    Args:
        batch: `n x channels x height x width`. Normalised images are padded with 0, their mean colour.
        kind: "none"; "shift": up to 12 % of the side (rounded to pixels) in both directions; "flip-shift": a
            mirror image half of the time as well.
        generator: a CPU generator; the same state gives the same images on every device.
    Raises:
        ConfigError: unknown kind.
    """
    if kind not in AUGMENTATIONS:
        raise ConfigError(f"augmentation {kind!r} is not known; use one of: {', '.join(AUGMENTATIONS)}")
    if kind == "none":
        return batch
    return _shift(_flip(batch, generator) if kind == "flip-shift" else batch, generator)


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
