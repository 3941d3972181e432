from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hwnas.elastic.log_mel import FLOOR, LogMel, mel_bands
from hwnas.trace import trace_module

RATE, HOP_MS, BANDS = 8000, 10, 40


def slow_twin(samples: np.ndarray, rate: int, hop_ms: int, n_bands: int) -> np.ndarray:
    """Frame by frame with numpy's FFT, band by band with HTK's formula."""
    size, step = rate * 25 // 1000, rate * hop_ms // 1000
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    mel = lambda hertz: 2595 * math.log10(1 + hertz / 700)  # noqa: E731
    low, high = mel(20), mel(rate / 2)
    edges = [low + (high - low) * k / (n_bands + 1) for k in range(n_bands + 2)]
    columns = []
    for start in range(0, len(samples) - size + 1, step):
        spectrum = np.abs(np.fft.rfft(samples[start : start + size] * window) * 2 / window.sum()) ** 2
        bands = []
        for k in range(n_bands):
            total = 0.0
            for number, power in enumerate(spectrum):
                at = mel(number * rate / size)
                rising = (at - edges[k]) / (edges[k + 1] - edges[k])
                falling = (edges[k + 2] - at) / (edges[k + 2] - edges[k + 1])
                total += max(0.0, min(rising, falling)) * power
            bands.append(math.log(1 + total / FLOOR))
        columns.append(bands)
    return np.array(columns).T


@pytest.mark.parametrize(("rate", "hop_ms"), [(8000, 10), (8000, 15), (16000, 20), (11025, 20)])
def test_it_is_what_an_fft_and_a_filter_bank_give(rate: int, hop_ms: int) -> None:
    rng = np.random.default_rng(rate)
    time_s = np.arange(rate // 4) / rate
    samples = 0.3 * np.sin(2 * np.pi * 440 * time_s) + 1e-3 * rng.standard_normal(len(time_s))
    found = LogMel(rate, hop_ms, BANDS)(torch.from_numpy(samples[None, None].astype(np.float32)))
    wanted = slow_twin(samples, rate, hop_ms, BANDS)
    assert found.shape == (1, 1, *wanted.shape)
    np.testing.assert_allclose(found[0, 0].numpy(), wanted, atol=2e-3)


def test_silence_is_zero_and_a_full_sine_is_eighty_decibels_above() -> None:
    log_mel = LogMel(RATE, HOP_MS, BANDS)
    assert (log_mel(torch.zeros(1, 1, 800)) == 0).all()
    sine = torch.sin(2 * math.pi * 1000 * torch.arange(800) / RATE)[None, None]  # the middle of bin 25
    # Under a Hann window the bins beside it have half its amplitude.
    power = mel_bands(BANDS, 200, RATE)[:, 24:27] @ [0.25, 1, 0.25]
    np.testing.assert_allclose(log_mel(sine).max().item(), math.log(1 + power.max() * 1e8), atol=0.01)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000, 44100, 48000])
def test_every_band_hears_something(rate: int) -> None:
    bands = mel_bands(BANDS, rate * 25 // 1000, rate)
    assert (bands >= 0).all()
    assert (bands <= 1).all()
    assert (bands.sum(axis=1) > 0).all()


def test_its_operations_are_counted_and_stay_in_fp32() -> None:
    samples, size, bins = 5360, 200, 101
    frames = (samples - size) // 80 + 1
    network = trace_module(LogMel(RATE, HOP_MS, BANDS), (1, samples))
    assert network.macs == frames * (2 * bins * size + 2 * bins * BANDS)
    assert network.params == 2 * bins * size + 2 * bins * BANDS + BANDS  # fixed, yet in the file
    assert all(op.fixed for op in network)
    assert {op.precision for op in network.at("int8")} == {"fp32"}
    assert [op.kind for op in network] == ["conv", "elementwise", "pointwise", "elementwise"]


def test_nothing_of_it_is_learned() -> None:
    assert not list(LogMel(RATE, HOP_MS, BANDS).parameters())
