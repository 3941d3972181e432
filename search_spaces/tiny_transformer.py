"""A small Transformer encoder over ids, for texts: more than 1e6 architectures.

Source: the encoder of Vaswani et al., NeurIPS 2017, with norms first (Xiong et al., ICML 2020). Depth, width, and each
layer's heads and hidden units are elastic, as in HAT: Wang et al., Hardware-Aware Transformers, ACL 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwnas.core.task import TaskLike, TaskShape
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.transformer import ElasticEmbedding, ElasticEncoderLayer, ElasticTokenClassifier
from hwnas.errors import ConfigError

__all__ = ["SPACE"]

WIDTHS = (32, 48, 64, 96)
DEPTHS = (1, 2, 3, 4)
HEADS = (1, 2, 3, 4)
HEAD_SIZE = 16
HIDDEN = (32, 64, 128, 192)
MOST_TOKENS = 512


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: embedding, encoder layers, classifier over the mean of the tokens.

    Raises:
        ConfigError: the input is not a row of 1 to 512 ids.
    """
    shape = TaskShape.of(task)
    if shape.n_ids is None or len(shape.input_shape) != 1 or not 1 <= shape.input_shape[0] <= MOST_TOKENS:
        raise ConfigError(
            f"space 'tiny-transformer' takes 1 to {MOST_TOKENS} ids, got an input of {shape.input_shape} "
            f"{shape.dtype} values; choose another --space, or --task text"
        )
    chain: list[ElasticBlock] = [ElasticEmbedding("width", shape.n_ids, shape.input_shape[0], WIDTHS)]
    for index in range(DEPTHS[-1]):
        chain.append(
            ElasticEncoderLayer(
                f"layer{index}", index, WIDTHS[-1], heads=HEADS, head_size=HEAD_SIZE, hidden=HIDDEN, depths=DEPTHS
            )
        )
    return [*chain, ElasticTokenClassifier(WIDTHS[-1], task.n_outputs)]


SPACE = ElasticSpace("tiny-transformer", blocks, default=TaskShape((64,), 2, n_ids=8192))
