from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hwnas.errors import DataError
from hwnas.tasks import pictures
from hwnas.tasks.pictures import SUFFIXES, Picture, Probe, decode_all, probe


def encoded(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def colour(height: int = 6, width: int = 9) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes whose header promises `side` x `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("mode", "grey"), [("RGB", False), ("RGBA", False), ("P", False), ("L", True), ("LA", True), ("1", True)]
)
def test_probe(mode: str, grey: bool) -> None:
    assert probe(Picture("p", encoded(colour().convert(mode)), 0)) == Probe((9, 6), grey)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_the_pixels(kind: str) -> None:
    found = decode_all([Picture("p", encoded(colour(), kind), 0)], (3, 6, 9))
    np.testing.assert_array_equal(found[0], np.asarray(colour()).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    colour().convert("L" if suffix == ".pgm" else "RGB").save(path)
    assert decode_all([Picture("p", path, 0)], (3, 4, 4)).shape == (1, 3, 4, 4)


def test_resizing_and_grey_are_pillows() -> None:
    found = decode_all([Picture("p", encoded(colour()), 0)], (1, 12, 4))
    expected = colour().convert("L").resize((4, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found[0, 0], np.asarray(expected))


def test_sixteen_bits_keep_their_range() -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    found = decode_all([Picture("p", encoded(Image.fromarray(values)), 0)], (1, 1, 4))
    assert found.ravel().tolist() == [0, 1, 128, 255]


def test_a_photo_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    photo = Image.new("RGB", (8, 4), "white")
    photo.paste("black", (0, 0, 4, 4))
    found = decode_all([Picture("p", encoded(photo, exif=exif), 0)], (1, 8, 4))
    assert found[0, 0, 0].tolist() == [0] * 4
    assert found[0, 0, -1].tolist() == [255] * 4


def test_order_is_kept_over_many_pieces() -> None:
    many = [Picture(str(i), encoded(Image.new("L", (2, 2), i)), 0) for i in range(100)]
    assert decode_all(many, (1, 2, 2))[:, 0, 0, 0].tolist() == list(range(100))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "row 3: not an image; replace or remove it. Read are: PNG"),
        (b"hello", "row 3: not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "row 3: not an image"),
        (encoded(colour(64, 64))[:200], "row 3: broken"),
        (encoded(colour(64, 64), "JPEG")[:400], "row 3: broken"),
        (bomb(60_000), "row 3: too large"),
        (bomb(10_000), "row 3: too large .*100000000|row 3: too large .10000 x 10000"),
    ],
)
def test_bad_images(content: bytes, message: str) -> None:
    good = Picture("good", encoded(colour()), 0)
    with pytest.raises(DataError, match=message):
        decode_all([good, Picture("row 3", content, 0)], (3, 4, 4))


def test_a_bomb_is_found_in_its_header() -> None:
    with pytest.raises(DataError, match=r"x: too large .* at most 89 million pixels"):
        probe(Picture("x", bomb(10_000), 0))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.png: broken"):
        probe(Picture("gone.png", tmp_path / "gone.png", 0))


def test_the_limit_is_pillows_own() -> None:
    assert Image.MAX_IMAGE_PIXELS == pictures.MAX_PIXELS
