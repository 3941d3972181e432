"""Elastic inverted residuals for images of 8 to 224 pixels, grey or colour: more than 1e9 architectures.

Source: the block of Sandler et al., CVPR 2018 and Howard et al., ICCV 2019; elastic as in Cai et al., ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.core.task import TaskLike
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock, ElasticResize
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.space import ElasticSpace
from hwnas.errors import ConfigError

__all__ = ["SPACE"]

# stage -> output widths and numbers of blocks
STAGES = {
    "s1": ((16, 24), (1, 2)),
    "s2": ((24, 32, 40), (2, 3)),
    "s3": ((48, 64, 80), (2, 3)),
    "s4": ((80, 112, 144), (1, 2, 3)),
}
# Which of stem and stages halve the image, the first of them first; the last feature map is 2 to 7 pixels wide.
HALVINGS = ("s2", "s3", "stem", "s4", "s1")


def _sizes(side: int) -> tuple[int, ...]:
    """Input resolutions: half to full, in steps of an eighth, multiples of 4, at least 8 pixels."""
    return tuple(sorted({side, *[size for eighths in (4, 5, 6, 7) if (size := side * eighths // 32 * 4) >= 8]}))


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: resize, stem, four stages of inverted residuals, head, classifier.

    Raises:
        ConfigError: the input is not a square of 8 to 224 pixels with 1 or 3 channels.
    """
    channels, height, width = task.input_shape if len(task.input_shape) == 3 else (0, 0, 0)
    if channels not in (1, 3) or height != width or not 8 <= height <= 224:
        raise ConfigError(
            f"space 'mobilenet' takes 1 or 3 channels and squares of 8 to 224 pixels, got {task.input_shape}"
        )
    # 8 px halve once, 16 px twice, ... 128 px and more five times.
    halved = HALVINGS[: min(max(height.bit_length() - 3, 1), 5)]
    stem = ElasticConvBlock("stem.width", channels, (16, 24), stride=2 if "stem" in halved else 1)
    chain: list[ElasticBlock] = [ElasticResize("resolution", _sizes(height)), stem]
    max_in = 24
    for stage, (widths, depths) in STAGES.items():
        for index in range(depths[-1]):
            stride = 2 if index == 0 and stage in halved else 1
            chain.append(ElasticInvertedResidual(stage, index, max_in, widths, depths, stride=stride))
            max_in = widths[-1]
    head = ElasticConvBlock("head.width", max_in, (192, 288), kernel=1)
    return [*chain, head, ElasticClassifier(288, task.n_outputs)]


SPACE = ElasticSpace("mobilenet", blocks)
