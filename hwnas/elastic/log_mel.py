"""A log-mel front end that is part of the network: fixed convolutions, so that every runtime runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.space import Choice
from hwnas.elastic.block import BlockSpec, ElasticBlock, Values

__all__ = ["ElasticLogMel", "LogMel", "LogMelSpec", "mel_bands", "windowed_waves"]

WINDOW_MS = 25
LOW_HZ = 20.0
FLOOR = 1e-8  # power of what counts as silence, 80 dB below that of a full-scale sine

FloatArray = NDArray[np.float64]


def windowed_waves(size: int) -> FloatArray:
    """Cosines, then sines, of the discrete Fourier transform of `size` samples under a Hann window.

    Returns:
        `2 * (size // 2 + 1) x size`; a full-scale sine in the middle of a bin has a power of 1 there.
    """
    window = np.hanning(size + 1)[:-1]  # periodic
    angles = 2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size
    return np.asarray(np.concatenate([np.cos(angles), np.sin(angles)]) * window * (2 / window.sum()))


def mel_bands(n_bands: int, size: int, sample_rate: int) -> FloatArray:
    """Triangles of equal width on the mel scale, from 20 Hz to half the sample rate.

    Returns:
        `n_bands x (size // 2 + 1)`: weight of each bin of the spectrum, at most 1.
    Source: Young et al., The HTK Book (3.4), section 5.6: mel(f) = 2595 log10(1 + f / 700).
    """
    bins = _mel(np.arange(size // 2 + 1) * sample_rate / size)
    edges = np.linspace(_mel(np.array(LOW_HZ)), _mel(np.array(sample_rate / 2)), n_bands + 2)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.asarray(np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clip(min=0.0))


def _mel(hertz: FloatArray) -> FloatArray:
    return np.asarray(2595 * np.log10(1 + hertz / 700))


class LogMel(nn.Module):
    """Waveform -> ln(1 + power in mel bands / silence): 0 where there is nothing, never negative.

    The spectrum is one convolution, its power in each band another. It computes in fp32 at every precision: powers span
    more than int8 or fp16 hold. Nothing of it is learned.

    Args:
        sample_rate: in Hz.
        hop_ms: from one frame to the next.
        n_bands: mel bands.
    """

    keeps_fp32 = True

    def __init__(self, sample_rate: int, hop_ms: int, n_bands: int) -> None:
        super().__init__()
        size = sample_rate * WINDOW_MS // 1000
        self.sample_rate, self.hop_ms = sample_rate, hop_ms
        waves, bands = windowed_waves(size), mel_bands(n_bands, size, sample_rate) / FLOOR
        # The power of a bin is the sum of two squares: both halves of the waves have the same bands.
        for name, values in (("waves", waves[:, None]), ("bands", np.tile(bands, 2)[:, :, None])):
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)))
        self.register_buffer("silence", torch.ones(n_bands))

    def forward(self, x: Tensor, hop_ms: int | None = None) -> Tensor:
        """`n x 1 x samples` -> `n x 1 x n_bands x frames`; only whole windows count."""
        if x.is_cuda and torch.is_autocast_enabled("cuda"):
            with torch.autocast("cuda", enabled=False):
                return self.forward(x.float(), hop_ms)
        step = self.sample_rate * (hop_ms or self.hop_ms) // 1000
        waves, bands, silence = cast(Tensor, self.waves), cast(Tensor, self.bands), cast(Tensor, self.silence)
        spectrum = F.conv1d(x, waves, stride=step)
        return F.conv1d(spectrum * spectrum, bands, silence).log().unsqueeze(1)


@dataclass(frozen=True, slots=True)
class LogMelSpec:
    """See LogMel."""

    sample_rate: int
    hop_ms: int
    n_bands: int
    out_channels: int = 1

    def build(self) -> nn.Module:
        """The plain block."""
        return LogMel(self.sample_rate, self.hop_ms, self.n_bands)


class ElasticLogMel(ElasticBlock):
    """Log-mel front end of elastic time resolution; what follows sees an image of one channel.

    Args:
        label: of the choice.
        hops_ms: from one frame to the next, the longest (the cheapest) first.
        sample_rate: in Hz.
        n_bands: mel bands, the height of the image.
    """

    def __init__(self, label: str, hops_ms: Sequence[int], sample_rate: int, n_bands: int) -> None:
        super().__init__()
        self.label = label
        self.choices, self.labels = (Choice(label, tuple(hops_ms)),), (label,)
        self.log_mel = LogMel(sample_rate, hops_ms[0], n_bands)
        self.sample_rate, self.n_bands = sample_rate, n_bands

    def spec(self, values: Values, channels: int, ratio: float, multiple: int) -> BlockSpec:
        """See ElasticBlock."""
        return LogMelSpec(self.sample_rate, int(values[self.label]), self.n_bands)

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """See ElasticBlock."""
        return cast(Tensor, self.log_mel(x, int(values[self.label])))

    def extract(
        self, values: Values, spec: BlockSpec, inputs: Tensor, outputs: Tensor | None
    ) -> tuple[nn.Module, Tensor]:
        """See ElasticBlock."""
        return spec.build(), inputs
