"""The once-for-all space around MobileNetV3-Large, at width 1.2: 3x224x224 inputs, scaled down to 128 ... 224 pixels.

Source: Cai et al., Once-for-all, ICLR 2020 (section 4.1: elastic depth 2-4, expansion 3-6, kernel 3-7, resolution
128-224 in steps of 4); skeleton, activations and squeeze-excite of each stage as in the authors' published model code,
which is that of MobileNetV3-Large (Howard et al., ICCV 2019). Width 1.2 is that of the networks that HELP deploys.
Labels are those of HELP's table: `ks00`-`ks19` and `e00`-`e19` by layer (four slots a stage), `d0`-`d4` by stage, `r`
the resolution.

The networks take 224x224 and begin with a bilinear resize to `r` (no operation at 224); the published measurements fed
images of `r` pixels. On smaller images, which a search trains on, `r` means the same share of the side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hwnas.core.task import TaskLike
from hwnas.elastic.block import ElasticBlock
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock, ElasticResize
from hwnas.elastic.inverted_residual import ElasticInvertedResidual, divisible
from hwnas.elastic.space import ElasticSpace

__all__ = ["RESOLUTIONS", "SPACE"]

FULL = 224
RESOLUTIONS = tuple(range(128, FULL + 1, 4))
DEPTHS = (2, 3, 4)
# (base width, stride of the first block, activation, squeeze-excite)
STAGES = (
    (24, 2, "relu", 0),
    (40, 2, "relu", 1),
    (80, 2, "hardswish", 0),
    (112, 1, "hardswish", 1),
    (160, 2, "hardswish", 1),
)


def _width(base: int) -> int:
    return divisible(1.2 * base)


def _squeezed(channels: int, hidden: int) -> int:
    return divisible(hidden // 4)


def _first(channels: int) -> ElasticInvertedResidual:
    """The one block that is always the same."""
    block = partial(ElasticInvertedResidual, None, 0, channels, (channels,), (1,), kernels=(3,), expansions=(1,))
    return block(squeeze_excite=(0,), act="relu", expand=False)


def blocks(task: TaskLike) -> Sequence[ElasticBlock]:
    """The chain: resize, stem, a fixed block, five stages of up to four blocks, head, classifier."""
    max_in = _width(16)
    stem = ElasticConvBlock("stem", task.input_shape[0], (max_in,), stride=2)
    chain: list[ElasticBlock] = [ElasticResize("r", RESOLUTIONS, FULL), stem, _first(max_in)]
    for number, (base, stride, act, gated) in enumerate(STAGES):
        for index in range(DEPTHS[-1]):
            slot = f"{DEPTHS[-1] * number + index:02}"
            chain.append(
                ElasticInvertedResidual(
                    f"s{number}",
                    index,
                    max_in,
                    (_width(base),),
                    DEPTHS,
                    squeeze_excite=(gated,),
                    stride=stride if index == 0 else 1,
                    act=act,
                    labels={"kernel": f"ks{slot}", "expand": f"e{slot}", "depth": f"d{number}"},
                    squeeze=_squeezed,
                )
            )
            max_in = _width(base)
    head = ElasticConvBlock("head", max_in, (_width(960),), kernel=1)
    return [*chain, head, ElasticClassifier(_width(960), task.n_outputs, mix=_width(1280))]


SPACE = ElasticSpace("ofa-mobilenetv3", blocks, input_shape=(3, FULL, FULL))
