from __future__ import annotations

import numpy as np

from hwnas.core.waveform import WaveformPreprocessing


def test_samples_become_values_in_one() -> None:
    raw = np.array([[[-32768, 0, 16384, 32767]]], dtype=np.int16)
    found = WaveformPreprocessing(8000, 4)(raw)
    assert found.dtype == np.float32
    assert found.tolist() == [[[-1.0, 0.0, 0.5, 32767 / 32768]]]


def test_the_manifest_says_all_that_is_needed() -> None:
    said = WaveformPreprocessing(8000, 5360).to_json()
    assert (said["sample_rate"], said["samples"], said["scale"]) == (8000, 5360, 1 / 32768)
