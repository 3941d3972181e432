"""What spaces for square images of any size have in common: which they take, where they halve them, resolutions."""

from __future__ import annotations

from hwnas.core.task import TaskLike
from hwnas.errors import ConfigError

__all__ = ["halved", "image_sizes", "square_image"]

# Which of stem and four stages halve the image, the first of them first.
_HALVINGS = ("s2", "s3", "stem", "s4", "s1")


def square_image(task: TaskLike, space: str) -> tuple[int, int]:
    """Channels, and pixels a side.

    Raises:
        ConfigError: the input is not a square of 8 to 224 pixels with 1 or 3 channels.
    """
    channels, height, width = task.input_shape if len(task.input_shape) == 3 else (0, 0, 0)
    if channels not in (1, 3) or height != width or not 8 <= height <= 224:
        raise ConfigError(
            f"space {space!r} takes 1 or 3 channels and squares of 8 to 224 pixels, got {task.input_shape}"
        )
    return channels, height


def halved(side: int) -> tuple[str, ...]:
    """Which of "stem" and "s1" to "s4" halve the image, so that the last feature map is 2 to 7 pixels wide.

    8 pixels are halved once, 16 twice, ... 128 and more five times.
    """
    return _HALVINGS[: min(max(side.bit_length() - 3, 1), 5)]


def image_sizes(side: int) -> tuple[int, ...]:
    """Input resolutions of an image: half to full, in steps of an eighth, multiples of 4, at least 8 pixels."""
    return tuple(sorted({side, *[size for eighths in (4, 5, 6, 7) if (size := side * eighths // 32 * 4) >= 8]}))
