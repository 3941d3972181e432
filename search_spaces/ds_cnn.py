"""Depthwise-separable convolutions on a log-mel spectrogram, for spoken words: more than 1e6 architectures.

Source: Zhang et al., Hello Edge: Keyword Spotting on Microcontrollers, 2017 (DS-CNN). The spectrogram is computed by
the network itself; its time resolution, the number of blocks, and each block's width and kernel are elastic.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.core.task import TaskLike, TaskShape
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.log_mel import WINDOW_MS, ElasticLogMel
from hwnas.elastic.separable import ElasticSeparable
from hwnas.elastic.space import ElasticSpace
from hwnas.errors import ConfigError

__all__ = ["SPACE"]

HOPS_MS = (20, 15, 10)
N_BANDS = 40
STEM = (16, 24, 32)
WIDTHS = (24, 32, 48, 64)
DEPTHS = (2, 3, 4, 5)
RATES = (4_000, 48_000)  # Hz, the lowest and the highest
LEAST_MS = 100  # of a clip


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: log-mel, a convolution, depthwise-separable convolutions, classifier; the first two halve the image.

    Raises:
        ConfigError: the input is not a waveform of 4 to 48 kHz and at least a tenth of a second.
    """
    shape = TaskShape.of(task)
    rate = shape.sample_rate
    is_waveform = rate is not None and len(shape.input_shape) == 2 and shape.input_shape[0] == 1
    if rate is None or not is_waveform or not RATES[0] <= rate <= RATES[1] or shape.input_shape[1] < _samples(rate):
        raise ConfigError(
            f"space 'ds-cnn' takes waveforms (1, samples) of {RATES[0]} to {RATES[1]} Hz and at least {LEAST_MS} ms, "
            f"got {shape.input_shape} at {rate} Hz; choose another --space, or --task keywords"
        )
    chain: list[ElasticBlock] = [
        ElasticLogMel("hop_ms", HOPS_MS, rate, N_BANDS),
        ElasticConvBlock("stem.width", 1, STEM, stride=2, act="relu"),
    ]
    max_in = STEM[-1]
    for index in range(DEPTHS[-1]):
        chain.append(ElasticSeparable(f"block{index}", index, max_in, WIDTHS, DEPTHS, stride=2 if index == 0 else 1))
        max_in = WIDTHS[-1]
    return [*chain, ElasticClassifier(max_in, task.n_outputs)]


def _samples(rate: int) -> int:
    return rate * max(LEAST_MS, WINDOW_MS) // 1000


SPACE = ElasticSpace("ds-cnn", blocks, default=TaskShape((1, 16_000), 10, sample_rate=16_000))
