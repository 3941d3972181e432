"""Reading recordings of unknown origin: WAV files of whole numbers, and raw samples."""

from __future__ import annotations

import io
import math
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError

__all__ = ["Clip", "fit_clip", "mono", "read_wav"]

RATES = (1_000, 192_000)  # Hz that are believed
MAX_SECONDS = 600
PEAK = 32767

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording of one word.

    Attributes:
        name: a file or a row, for messages.
        samples: one channel, 16 bits.
        sample_rate: in Hz.
        label: the word.
        split: that the data name, None if they name none.
        speaker: who speaks, None if it is not known.
    """

    name: str
    samples: Samples = field(repr=False)
    sample_rate: int
    label: str | int
    split: str | None = None
    speaker: str | None = None

    def __post_init__(self) -> None:
        if not RATES[0] <= self.sample_rate <= RATES[1]:
            raise DataError(f"{self.name}: sample rate {self.sample_rate} Hz is not of {RATES[0]} to {RATES[1]}")
        if not len(self.samples):
            raise DataError(f"{self.name}: no samples; replace or remove it")
        if len(self.samples) > MAX_SECONDS * self.sample_rate:
            raise DataError(f"{self.name}: longer than {MAX_SECONDS} s; cut it into one file a word")


def read_wav(name: str, source: Path | bytes) -> tuple[Samples, int]:
    """One channel (the mean of all) in 16 bits, and the rate, of a WAV file of 8, 16, 24 or 32 bits.

    Raises:
        DataError: it is no WAV file, broken, or of another kind (compressed, floating point).
    """
    try:
        content = source if isinstance(source, bytes) else source.read_bytes()
        with wave.open(io.BytesIO(content)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError, OSError, ValueError, RuntimeError) as error:
        reason = str(error) or "it ends too early"
        raise DataError(
            f"{name}: cannot be read as WAV ({reason}); convert it to PCM: ffmpeg -i IN -c:a pcm_s16le OUT.wav"
        ) from error
    if width not in (1, 2, 3, 4) or channels < 1:
        raise DataError(f"{name}: {8 * width} bits and {channels} channels are not read; convert it to 16-bit PCM")
    whole = raw[: len(raw) // (width * channels) * width * channels]
    return mono(_values(whole, width).reshape(-1, channels)), rate


def _values(raw: bytes, width: int) -> NDArray[np.float64]:
    """Samples in -1..1."""
    if width == 1:  # unsigned, unlike all others
        return (np.frombuffer(raw, dtype=np.uint8).astype(np.float64) - 128) / 128
    if width == 3:  # numpy has no such type: three bytes become the upper ones of four
        wide = np.zeros((len(raw) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(raw, dtype=np.uint8).reshape(-1, 3)
        return wide.view("<i4").ravel() / 2.0**31
    return np.frombuffer(raw, dtype=f"<i{width}") / 2.0 ** (8 * width - 1)


def mono(values: NDArray[Any]) -> Samples:
    """`samples x channels`, in -1..1 -> the mean of the channels in 16 bits."""
    return np.asarray(np.rint(values.mean(axis=1) * (PEAK + 1)).clip(-PEAK - 1, PEAK), dtype=np.int16)


def fit_clip(clip: Clip, sample_rate: int, n_samples: int) -> Samples:
    """Resample (polyphase, low-pass below half of the lower rate); cut or pad with zeros, as much at both ends.

    Returns:
        `n_samples`.
    """
    values: NDArray[Any] = clip.samples
    if clip.sample_rate != sample_rate:
        from scipy.signal import resample_poly

        common = math.gcd(clip.sample_rate, sample_rate)
        smooth = resample_poly(values.astype(np.float64), sample_rate // common, clip.sample_rate // common)
        values = np.rint(smooth).clip(-PEAK - 1, PEAK).astype(np.int16)
    spare = len(values) - n_samples
    if spare >= 0:
        return values[spare // 2 : spare // 2 + n_samples]
    return np.pad(values, (-spare // 2, -spare - -spare // 2))
