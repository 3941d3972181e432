"""Elastic residual blocks for images of 8 to 224 pixels, grey or colour: more than 1e9 architectures.

Dense convolutions all the way: what CPUs with int8 instructions, and GPUs, are quickest at for each multiply-add.

Source: the block of He et al., CVPR 2016; elastic as in Cai et al., ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.core.task import TaskLike
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock, ElasticResize
from hwnas.elastic.residual import ElasticResidual
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.square import halved, image_sizes, square_image

__all__ = ["SPACE"]

# stage -> output widths and numbers of blocks
STAGES = {
    "s1": ((16, 24, 32), (1, 2, 3)),
    "s2": ((32, 48, 64), (1, 2, 3)),
    "s3": ((64, 96, 128), (1, 2, 3)),
    "s4": ((96, 144, 192), (1, 2)),
}


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: resize, stem, four stages of residual blocks, classifier.

    Raises:
        ConfigError: the input is not a square of 8 to 224 pixels with 1 or 3 channels.
    """
    channels, side = square_image(task, "resnet")
    halving = halved(side)
    stem = ElasticConvBlock("stem.width", channels, (16, 24, 32), stride=2 if "stem" in halving else 1, act="relu")
    chain: list[ElasticBlock] = [ElasticResize("resolution", image_sizes(side)), stem]
    max_in = 32
    for stage, (widths, depths) in STAGES.items():
        for index in range(depths[-1]):
            stride = 2 if index == 0 and stage in halving else 1
            chain.append(ElasticResidual(stage, index, max_in, widths, depths, stride=stride))
            max_in = widths[-1]
    return [*chain, ElasticClassifier(max_in, task.n_outputs)]


SPACE = ElasticSpace("resnet", blocks)
