from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recordings import tone, write_wav

from hwnas.errors import DataError
from hwnas.tasks.waves import Clip, fit_clip, read_wav


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_every_depth_and_channel_count_is_read(bits: int, channels: int, tmp_path: Path) -> None:
    values = np.random.default_rng(bits).uniform(-1, 1, (50, channels))
    path = write_wav(tmp_path / "a.wav", values, rate=11025, bits=bits)
    samples, rate = read_wav("a", path)
    assert rate == 11025
    assert samples.dtype == np.int16
    np.testing.assert_allclose(samples / 32768, values.mean(axis=1), atol=2 / 2 ** (min(bits, 16) - 1))
    assert np.array_equal(read_wav("a", path.read_bytes())[0], samples)


@pytest.mark.parametrize(("rate", "target"), [(16000, 8000), (44100, 16000), (8000, 16000), (22050, 8000)])
def test_another_rate_is_resampled_and_nothing_folds_back(rate: int, target: int) -> None:
    def level(hertz: float) -> tuple[float, float]:
        """Of a tone after resampling, and where its spectrum has its peak."""
        clip = Clip("a", np.rint(tone(hertz, 0.5, rate) * 32767).astype(np.int16), rate, "a")
        values = fit_clip(clip, target, target // 2) / 32768
        spectrum = np.abs(np.fft.rfft(values * np.hanning(len(values))))
        return float(np.sqrt((values**2).mean())), float(spectrum.argmax() * target / len(values))

    loud, peak = level(1000)
    assert loud == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
    assert peak == pytest.approx(1000, abs=5)
    if rate > target:
        assert level(0.5 * target + 1500)[0] < 0.02 * loud  # above half the new rate: gone


@pytest.mark.parametrize(("length", "wanted"), [(6, 6), (4, 6), (5, 6), (9, 6), (10, 6), (1, 6)])
def test_clips_are_cut_and_padded_at_both_ends(length: int, wanted: int) -> None:
    clip = Clip("a", np.arange(1, length + 1, dtype=np.int16), 8000, "a")
    found = fit_clip(clip, 8000, wanted)
    assert len(found) == wanted
    kept = found[found > 0]
    assert np.array_equal(kept, np.arange(kept[0], kept[0] + min(length, wanted)))
    if length > wanted:
        assert abs((kept[0] - 1) - (length - kept[-1])) <= 1
    else:
        at = int(np.flatnonzero(found)[0])
        assert abs(at - (wanted - length - at)) <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as WAV"),
        (b"ID3 an MP3", "cannot be read as WAV"),
        (b"RIFF\x24\x00\x00\x00WAVE", "cannot be read as WAV"),
        (
            b"RIFF\x2c\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x03\x00\x01\x00\x40\x1f\x00\x00\x00\x7d\x00\x00"
            b"\x04\x00\x20\x00"
            b"data\x08\x00\x00\x00" + bytes(8),
            r"cannot be read as WAV \(unknown format: 3\); convert it to PCM",
        ),
    ],
    ids=["empty", "mp3", "cut", "float"],
)
def test_files_that_are_no_wav_of_whole_numbers(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_wav(str(path), path)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(0, np.int16), 8000, "no samples"),
        (np.zeros(9, np.int16), 0, "sample rate 0 Hz"),
        (np.zeros(9, np.int16), 10**7, "sample rate 10000000 Hz"),
        (np.zeros(601 * 1000, np.int16), 1000, "longer than 600 s"),
    ],
)
def test_clips_check_themselves(samples: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Clip("a", samples, rate, "yes")
