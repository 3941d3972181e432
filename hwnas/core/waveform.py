"""Waveforms: how recorded samples become a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FULL_SCALE", "WaveformPreprocessing"]

FULL_SCALE = 32768  # of 16-bit samples


@dataclass(frozen=True, slots=True)
class WaveformPreprocessing:
    """16-bit samples at one rate and of one length -> samples / 32768, in -1..1; the spectrum is the network's.

    Attributes:
        sample_rate: in Hz; recordings at another rate are resampled.
        n_samples: of a clip; a longer one loses as much at both ends, a shorter one gets as many zeros there.
    """

    sample_rate: int
    n_samples: int

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """`n x 1 x n_samples`, int16 -> the same shape, float32 in -1..1."""
        return np.asarray(inputs, dtype=np.float32) / np.float32(FULL_SCALE)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return {
            "kind": "waveform",
            "layout": "N1T",
            "sample_rate": self.sample_rate,
            "samples": self.n_samples,
            "channels": "averaged",
            "length": "cut or padded with zeros, as much at both ends",
            "scale": 1 / FULL_SCALE,
        }
