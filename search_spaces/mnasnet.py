"""The MnasNet space of Accel-NASBench: seven stages in the skeleton of EfficientNet-B0, 3x224x224 inputs.

Source: Tan et al., MnasNet, CVPR 2019, as in Accel-NASBench (Ahmad et al., DAC 2024). What the papers leave open is
taken from the authors' published collection code, and checked on their table: parameters and multiply-adds are equal
for all its 5,138 networks (their counter adds 4 for each element of a batch norm and, for each mean over an image, its
pixels and 1 a channel).
- Stem 3x3 to 32 channels at stride 2, stage widths and strides below, head 1x1 to 1280 channels, mean, classifier.
- Expansion 1 has no pointwise expansion; a block is summed with its input where the shape stays.
- Squeeze-excite squeezes to a quarter of the block's *input* channels, and its gate is a sigmoid.
- One to three layers a stage, in stage 5 one to four.
The counts do not tell the activation; the authors' scripts measure with ReLU, so it is ReLU here. Labels are the
table's columns: `b0_e` expansion, `b0_k` kernel, `b0_l` layers, `b0_se` squeeze-excite, for each stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hwnas.core.task import TaskLike
from hwnas.elastic.alternatives import ElasticAlternatives
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.space import ElasticSpace

__all__ = ["SPACE"]

# (width, stride of the first layer, most layers)
STAGES = ((16, 1, 3), (24, 2, 3), (40, 2, 3), (80, 2, 3), (112, 1, 3), (192, 2, 4), (320, 1, 3))
STEM, HEAD = 32, 1280


def _squeezed(channels: int, hidden: int) -> int:
    return max(1, channels // 4)


def _layer(stage: str, index: int, max_in: int, width: int, stride: int, most: int) -> ElasticAlternatives:
    """One layer; expansion 1 has weights of its own, since its depthwise convolution reads other channels."""
    depths = tuple(range(1, most + 1))
    block = partial(ElasticInvertedResidual, stage, index, max_in, (width,), depths, kernels=(3, 5), stride=stride)
    names = {"kernel": f"{stage}_k", "expand": "expand", "se": f"{stage}_se", "depth": f"{stage}_l"}
    plain = block(expansions=(1,), expand=False, act="relu", squeeze=_squeezed, gate="sigmoid", labels=names)
    wide = block(expansions=(4, 6), act="relu", squeeze=_squeezed, gate="sigmoid", labels=names)
    return ElasticAlternatives(f"{stage}_e", {1: (plain, {}), 4: (wide, {"expand": 4}), 6: (wide, {"expand": 6})})


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: stem, seven stages, head, classifier."""
    chain: list[ElasticBlock] = [ElasticConvBlock("stem", task.input_shape[0], (STEM,), stride=2, act="relu")]
    max_in = STEM
    for number, (width, stride, most) in enumerate(STAGES):
        for index in range(most):
            chain.append(_layer(f"b{number}", index, max_in, width, stride if index == 0 else 1, most))
            max_in = width
    head = ElasticConvBlock("head", max_in, (HEAD,), kernel=1, act="relu")
    return [*chain, head, ElasticClassifier(HEAD, task.n_outputs)]


SPACE = ElasticSpace("mnasnet", blocks, input_shape=(3, 224, 224))
