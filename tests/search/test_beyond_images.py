"""Whole searches of spoken words and of texts, small ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from recordings import tone, write_wav

import hwnas
from hwnas.errors import MeasurementError

CALIBRATION_S = 12.0


def spoken(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for word, hertz in (("low", 300), ("middle", 900), ("high", 2500)):
        for number in range(40):
            values = tone(hertz * rng.uniform(0.9, 1.1)) + 0.05 * rng.standard_normal(1600)
            write_wav(folder / word / f"{number}.wav", values)
    return folder


def written(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    filler = ["the", "film", "is", "a", "very", "long", "one", ","]
    rows = ["text,label"]
    for number in range(400):
        words = [*rng.choice(filler, 6), ("good", "bad")[number % 2]]
        rows.append(f'"{" ".join(rng.permutation(words))}",{("yes", "no")[number % 2]}')
    path = folder / "reviews.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("task", ["keywords", "text"])
def test_a_search_ends_with_checked_models(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.search.setup.CALIBRATION_S", CALIBRATION_S)
    data = spoken(tmp_path / "words") if task == "keywords" else written(tmp_path)
    try:
        result = hwnas.search(device="cpu", task=task, data=data, time_s=60, n_front=3, out=tmp_path / "run")
    except MeasurementError as error:
        if "idle machine" not in str(error):
            raise
        pytest.skip(str(error))  # other work on this machine disturbed each measurement of the short calibration
    assert result.details.space == {"keywords": "ds-cnn", "text": "tiny-transformer"}[task]
    assert result.front
    assert max(model.accuracy for model in result.front) > 0.6
    for model in result.front:
        assert model.latency["cpu"].measured is not None
        manifest = json.loads((tmp_path / "run" / "models" / model.id / "manifest.json").read_text())
        assert manifest["input"]["dtype"] == ("float32" if task == "keywords" else "int64")
        assert manifest["preprocessing"]["kind"] == ("waveform" if task == "keywords" else "tokens")
        if task == "keywords" and model.compression.precision == "int8":
            assert manifest["details"]["kept_in_fp32"] == ["0"]
