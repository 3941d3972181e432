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
from hwnas.elastic.square import halved, image_sizes, square_image

__all__ = ["SPACE"]

# stage -> output widths and numbers of blocks
STAGES = {
    "s1": ((16, 24), (1, 2)),
    "s2": ((24, 32, 40), (2, 3)),
    "s3": ((48, 64, 80), (2, 3)),
    "s4": ((80, 112, 144), (1, 2, 3)),
}


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: resize, stem, four stages of inverted residuals, head, classifier.

    Raises:
        ConfigError: the input is not a square of 8 to 224 pixels with 1 or 3 channels.
    """
    channels, side = square_image(task, "mobilenet")
    halving = halved(side)
    stem = ElasticConvBlock("stem.width", channels, (16, 24), stride=2 if "stem" in halving else 1)
    chain: list[ElasticBlock] = [ElasticResize("resolution", image_sizes(side)), stem]
    max_in = 24
    for stage, (widths, depths) in STAGES.items():
        for index in range(depths[-1]):
            stride = 2 if index == 0 and stage in halving else 1
            chain.append(ElasticInvertedResidual(stage, index, max_in, widths, depths, stride=stride))
            max_in = widths[-1]
    head = ElasticConvBlock("head.width", max_in, (192, 288), kernel=1)
    return [*chain, head, ElasticClassifier(288, task.n_outputs)]


SPACE = ElasticSpace("mobilenet", blocks)
