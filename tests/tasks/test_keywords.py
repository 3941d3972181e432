from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recordings import COUNT, tone, words, write_wav

from hwnas.errors import ConfigError, DataError
from hwnas.tasks.keywords import load

REAL = Path(__file__).parents[2] / "../shared/data/fsdd"


def test_folders_of_words(tmp_path: Path) -> None:
    task = load(words(tmp_path))
    assert (task.class_names, task.n_outputs, task.input_shape) == (("high", "low"), 2, (1, 1600))
    assert (task.sample_rate, task.n_ids, task.sides) == (8000, None, ())
    assert (len(task.train), len(task.validation), len(task.test)) == (14, 3, 3)
    assert task.train.inputs.dtype == np.int16
    for values, label in zip(task.preprocessing(task.train.inputs), task.train.labels, strict=True):
        assert np.abs(values).max() == pytest.approx(0.5, abs=0.02)
        peak = np.abs(np.fft.rfft(values[0])).argmax() * 8000 / 1600
        assert ("high", "low")[label] == ("high" if peak > 1000 else "low")


@pytest.mark.parametrize("bits", [8, 24, 32])
def test_depth_stereo_and_rate_make_no_difference(bits: int, tmp_path: Path) -> None:
    plain = load(words(tmp_path / "plain"))
    other = load(words(tmp_path / "other", bits=bits, stereo=True))
    assert other.input_shape == plain.input_shape
    np.testing.assert_allclose(other.train.inputs, plain.train.inputs / 2, atol=300 if bits == 8 else 2)
    fast = load(words(tmp_path / "fast", rate=44100))
    assert (fast.sample_rate, fast.input_shape) == (16000, (1, 3200))


def test_mixed_rates_become_the_commonest(tmp_path: Path) -> None:
    words(tmp_path)
    write_wav(tmp_path / "low" / "odd.wav", tone(300, 0.2, 22050), rate=22050)
    assert load(tmp_path).sample_rate == 8000


def test_long_clips_become_one_second(tmp_path: Path) -> None:
    assert load(words(tmp_path, seconds=1.7)).input_shape == (1, 8000)
    assert load(words(tmp_path, seconds=1.7), input_shape=(1, 4000)).input_shape == (1, 4000)


def test_speakers_of_file_names_stay_apart(tmp_path: Path) -> None:
    task = load(words(tmp_path, speakers=5))
    assert "none is in two splits" in task.source
    # Each speaker has two clips of each word.
    assert (len(task.train), len(task.validation), len(task.test)) == (12, 4, 4)


def test_folders_of_splits_and_hidden_ones(tmp_path: Path) -> None:
    for split in ("train", "validation", "test"):
        words(tmp_path / split)
    write_wav(tmp_path / "_background_noise_" / "hum.wav", tone(50, 20))
    task = load(tmp_path)
    assert len(task.train) == len(task.validation) == len(task.test) == 2 * COUNT


def parquet(path: Path, **columns: Any) -> Path:
    values = {"label": [number % 2 for number in range(20)], "sample_rate": [8000] * 20} | columns
    pq.write_table(pa.table({name: column for name, column in values.items() if column is not None}), path)
    return path


PCM = [np.rint(tone(300 if number % 2 else 2000) * 32767).astype("<i2").tobytes() for number in range(20)]


def test_parquet_of_samples_in_every_form_is_the_same(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tone(300)).read_bytes()
    floats = [list(np.frombuffer(raw, "<i2") / 32768) for raw in PCM]
    one, two = (
        load(parquet(tmp_path / "a.parquet", pcm_s16le=PCM)),
        load(parquet(tmp_path / "b.parquet", samples=floats)),
    )
    assert one.fingerprint == two.fingerprint
    assert one.class_names == ("0", "1")
    three = load(parquet(tmp_path / "c.parquet", audio=[{"bytes": wav, "path": None}] * 20, sample_rate=None))
    assert three.input_shape == one.input_shape


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "no column of recordings; it has label, sample_rate"),
        ({"pcm": PCM, "label": None}, "no column of labels"),
        ({"pcm": PCM, "label": [1.5] * 20}, "labels must be integers or strings"),
        ({"pcm": PCM, "label": [0] * 20}, "one class only"),
        ({"pcm": PCM, "label": [None, *[1] * 19]}, "row 0: no label"),
        ({"pcm": PCM, "sample_rate": None}, "'sample_rate' must give the rate"),
        ({"pcm": PCM, "sample_rate": [-1] * 20}, "sample rate -1 Hz"),
        ({"pcm": [None, *PCM[1:]]}, "row 0: no recording"),
        ({"pcm": [b"", *PCM[1:]]}, "row 0: no samples"),
        ({"pcm": [b"123", *PCM[1:]]}, "row 0: 3 bytes are no 16-bit samples"),
        ({"samples": [[0.0, float("nan")]] * 20}, "row 0: a sample is NaN"),
        ({"samples": [[0.0, 200.0]] * 20}, r"row 0: samples must be one row of numbers in -1\.\.1"),
        ({"samples": ["yes"] * 20}, "row 0: column 'samples' holds no samples"),
        ({"pcm": PCM, "split": ["rest"] * 20}, "split 'rest' is not known"),
        ({"pcm": PCM, "split": ["test"] * 20}, "no samples are left for train"),
        ({"pcm": PCM, "label": ["a", "b"] * 9 + ["c", "b"]}, "class 'c' has [01] training samples"),
    ],
)
def test_bad_parquet(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(parquet(tmp_path / "a.parquet", **columns))


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs --data"):
        load(None)
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no folders of words"):
        load(tmp_path)
    words(tmp_path)
    (tmp_path / "low" / "0.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"low/0\.wav: cannot be read as WAV"):
        load(tmp_path)
    write_wav(tmp_path / "low" / "0.wav", np.zeros(0))
    with pytest.raises(DataError, match=r"low/0\.wav: no samples"):
        load(tmp_path)
    (tmp_path / "low" / "0.wav").unlink()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no WAV files"):
        load(tmp_path)
    with pytest.raises(DataError, match="suffix"):
        load(tmp_path / "low" / "1.wav")
    with pytest.raises(ConfigError, match="must be"):
        load(words(tmp_path / "other"), input_shape=(3, 32, 32))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data/fsdd")
def test_the_real_data() -> None:
    task = load(REAL)
    assert (task.input_shape, task.sample_rate, task.n_outputs) == ((1, 5360), 8000, 10)
    assert (len(task.train), len(task.validation), len(task.test)) == (2000, 500, 500)
    assert np.bincount(task.test.labels).tolist() == [50] * 10  # one speaker, 50 of each digit
    assert "share speakers" in task.source
