"""WAV files for tests."""

from __future__ import annotations

import struct
import wave
from pathlib import Path
from typing import Any

import numpy as np


def write_wav(path: Path, values: np.ndarray, *, rate: int = 8000, bits: int = 16) -> Path:
    """`samples` or `samples x channels`, in -1..1."""
    given = np.asarray(values, dtype=np.float64)
    frames = given if given.ndim == 2 else given[:, None]
    whole = np.rint(frames * (2 ** (bits - 1) - 1)).astype(np.int64)
    if bits == 8:
        raw = (whole + 128).astype(np.uint8).tobytes()
    elif bits == 24:
        raw = b"".join(struct.pack("<i", int(value) << 8)[1:] for value in whole.ravel())
    else:
        raw = whole.astype(f"<i{bits // 8}").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(frames.shape[1])
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


def tone(hertz: float, seconds: float = 0.2, rate: int = 8000) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


COUNT = 10  # clips of a word


def words(folder: Path, *, speakers: int = 0, **settings: Any) -> Path:
    """Folders "high" and "low" with tones."""
    for number in range(COUNT):
        name = f"{number % speakers:08x}_nohash_{number}" if speakers else str(number)
        for word, hertz in (("low", 300), ("high", 2000)):
            values = tone(hertz + 5 * number, settings.get("seconds", 0.2), settings.get("rate", 8000))
            stacked = np.column_stack([values, 0 * values]) if settings.get("stereo") else values
            write_wav(
                folder / word / f"{name}.wav", stacked, rate=settings.get("rate", 8000), bits=settings.get("bits", 16)
            )
    return folder
