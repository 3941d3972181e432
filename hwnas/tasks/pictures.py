"""Opening and decoding image files of unknown origin."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SUFFIXES", "Picture", "Probe", "decode_all", "probe"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
# Only these decoders: others can start programs (EPS) or are hardly tested.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 89_478_485  # Pillow's own limit, a quarter of a GiB of RGB
PIECE = 32  # images that a thread decodes at a time

_GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"}
# What Pillow's decoders raise on broken files, MAX_PIXELS excepted.
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError, TypeError, KeyError, OverflowError)


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that was not opened yet.

    Attributes:
        name: a file or a row, for messages.
        source: the file, or the bytes of one.
        label: as the user wrote it.
    """

    name: str
    source: Path | bytes = field(repr=False)
    label: str | int


@dataclass(frozen=True, slots=True)
class Probe:
    """What an image's header tells: (width, height), and whether it has no colour."""

    size: tuple[int, int]
    grey: bool


def probe(picture: Picture) -> Probe:
    """Read the header of an image.

    Raises:
        DataError: it is not an image, or has more than 89 million pixels.
    """
    with _quiet(), _opened(picture) as image:
        return Probe(image.size, image.mode in _GREY_MODES)


def decode_all(pictures: Sequence[Picture], input_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode images, resize them (bilinear) and convert them to grey or RGB.

    Args:
        pictures: `n` images.
        input_shape: (1 or 3, height, width).
    Returns:
        `n x channels x height x width`.
    Raises:
        DataError: an image is broken or too large; the first such one is named.
    """
    images = np.empty((len(pictures), *input_shape), dtype=np.uint8)

    def decode_piece(start: int) -> None:
        for index in range(start, min(start + PIECE, len(pictures))):
            with _opened(pictures[index]) as image:
                values = _pixels(image, input_shape)
            images[index] = values.transpose(2, 0, 1) if input_shape[0] == 3 else values

    # Pillow releases the interpreter lock while it decodes and resizes.
    with _quiet(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(decode_piece, range(0, len(pictures), PIECE)):
            pass
    return images


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings: what they are about is checked here, and says so in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(picture: Picture) -> Iterator[Image]:
    from PIL import Image, UnidentifiedImageError

    file = io.BytesIO(picture.source) if isinstance(picture.source, bytes) else picture.source
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            yield image
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{picture.name}: too large ({error}); at most {MAX_PIXELS // 10**6} million pixels are read, shrink it"
        ) from error
    except _BROKEN as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else f"broken ({error})"
        raise DataError(f"{picture.name}: {reason}; replace or remove it. Read are: {', '.join(FORMATS)}") from error


def _pixels(image: Image, input_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    channels, height, width = input_shape
    # JPEG decodes at a fraction of its size where twice the target is still left.
    image.draft(None, (2 * width, 2 * height))
    turned = ImageOps.exif_transpose(image) if image.getexif() else image
    if turned.mode.startswith("I;16"):
        turned = Image.fromarray((np.asarray(turned, dtype=np.uint16) >> 8).astype(np.uint8))
    elif turned.mode == "P" and "transparency" in turned.info:
        turned = turned.convert("RGBA")
    converted = turned.convert("RGB" if channels == 3 else "L")
    if converted.size != (width, height):
        converted = converted.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(converted)
