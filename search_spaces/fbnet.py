"""FBNet for CIFAR: 22 layers of nine operations each, on 3x32x32 inputs.

Source: Wu et al., FBNet, CVPR 2019 (table 1: skeleton, table 2: operations), in the CIFAR-100 setting of HW-NAS-Bench
(Li et al., ICLR 2021), whose published model code gives what the paper leaves open, and which HELP measured:
- stem 3x3 to 16 channels at stride 1, stage strides 1, 1, 2, 2, 1, 2, 1, head 1x1 to 1504 channels, mean, classifier;
- ReLU after the stem, the head, the first pointwise and the depthwise convolution of a layer; the first pointwise
  convolution is there at expansion 1 too; a sum with the input where the shape stays;
- `_g2`: both pointwise convolutions in two groups, with a channel shuffle after the first;
- `skip`: nothing where the shape stays, else a strided pointwise convolution, batch norm and ReLU.
Weights: the operations of one layer share an inverted residual that is elastic in kernel and expansion; the grouped
ones share another, since the shuffle gives their hidden channels another meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hwnas.core.architecture import Value
from hwnas.core.task import TaskLike
from hwnas.elastic.alternatives import ElasticAlternatives
from hwnas.elastic.block import ElasticBlock, Values
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock, ElasticIdentity
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.space import ElasticSpace

__all__ = ["LABELS", "OPERATIONS", "SPACE"]

# Cheapest first, so that the first is the smallest network's and the last the largest's.
OPERATIONS = ("skip", "k3_e1_g2", "k5_e1_g2", "k3_e1", "k5_e1", "k3_e3", "k5_e3", "k3_e6", "k5_e6")
# The order of HW-NAS-Bench's tables.
CODES = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
# (layers, channels, stride of the first layer)
STAGES = ((1, 16, 1), (4, 24, 1), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
STEM, HEAD = 16, 1504
LABELS = tuple(f"op{number:02}" for number in range(sum(layers for layers, _, _ in STAGES)))


def _layer(label: str, stage: str, max_in: int, width: int, stride: int) -> ElasticAlternatives:
    names = {"kernel": "kernel", "expand": "expand"}
    block = partial(ElasticInvertedResidual, stage, 0, max_in, (width,), (1,), kernels=(3, 5), squeeze_excite=(0,))
    dense = block(expansions=(1, 3, 6), stride=stride, act="relu", labels=names)
    grouped = block(expansions=(1,), stride=stride, act="relu", labels=names, groups=2)
    skip: ElasticBlock = ElasticIdentity()
    if stride > 1 or max_in != width:
        skip = ElasticConvBlock("skip", max_in, (width,), kernel=1, stride=stride, act="relu")
    alternatives: dict[Value, tuple[ElasticBlock, Values]] = {"skip": (skip, {})}
    for name in OPERATIONS[1:]:
        kernel, expand, *groups = name.split("_")
        alternatives[name] = (grouped if groups else dense, {"kernel": int(kernel[1:]), "expand": int(expand[1:])})
    return ElasticAlternatives(label, alternatives)


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: stem, 22 layers in seven stages, head, classifier."""
    chain: list[ElasticBlock] = [ElasticConvBlock("stem", task.input_shape[0], (STEM,), act="relu")]
    labels, max_in = iter(LABELS), STEM
    for number, (layers, width, stride) in enumerate(STAGES, start=1):
        for index in range(layers):
            chain.append(_layer(next(labels), f"s{number}", max_in, width, stride if index == 0 else 1))
            max_in = width
    head = ElasticConvBlock("head", max_in, (HEAD,), kernel=1, act="relu")
    return [*chain, head, ElasticClassifier(HEAD, task.n_outputs)]


SPACE = ElasticSpace("fbnet", blocks, input_shape=(3, 32, 32), codes=CODES)
