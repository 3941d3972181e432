"""Channels counted in blocks: what a device computes that takes channels by the vector, 16 at a time for example.

There 24 channels cost what 32 do. (ONNX Runtime with AVX-512, fp32: six 3x3 convolutions of 24 channels at 16x16
pixels take 0.20 ms as those of 32 do, those of 16 take 0.075 ms.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from hwnas.core.ops import Op, OpList, Segment

__all__ = ["BLOCKS", "in_blocks", "telling_blocks"]

BLOCKS = (4, 8, 16, 32)  # widths of vectors and tiles: SSE and NEON, AVX, AVX-512, warps
_CONVOLUTIONS = ("conv", "pointwise", "depthwise", "grouped")
Shape = tuple[int, ...]


def in_blocks(network: OpList, block: int) -> OpList:
    """The network as a device computes it that rounds the channels of convolutions up to whole blocks.

    Fewer channels than a block has stay as they are: such layers have routines of their own.
    """
    return network if block == 1 else OpList([_rounded(segment, block) for segment in network.segments])


def telling_blocks(networks: Sequence[OpList]) -> list[int]:
    """The blocks in which some network is another one."""
    segments = {segment: None for network in networks for segment in network.segments}
    return [block for block in BLOCKS if any(_rounded(segment, block) is not segment for segment in segments)]


def _rounded(segment: Segment, block: int) -> Segment:
    """The same object each time it is asked for; the segment itself, if nothing is rounded."""
    found = segment.cache.get(("blocks", block))
    if found is None:
        ops = [_whole(op, block) for op in segment.ops]
        found = segment if tuple(ops) == segment.ops else Segment(ops)
        segment.cache["blocks", block] = found
    return found


@lru_cache(maxsize=100_000)
def _whole(op: Op, block: int) -> Op:
    if op.kind not in _CONVOLUTIONS or len(op.output) < 2 or not op.inputs or len(op.inputs[0]) < 2:
        return op
    given, made = op.inputs[0][0], op.output[0]
    read, write = _up(given, block), _up(made, block)
    if (read, write) == (given, made):
        return op
    # A depthwise convolution has a filter for each channel, which reads that channel alone.
    depthwise = op.kind == "depthwise"
    factor = write / made if depthwise else read / given * write / made
    return replace(
        op,
        groups=read if depthwise else op.groups,
        inputs=((read, *op.inputs[0][1:]), *op.inputs[1:]),
        output=(write, *op.output[1:]),
        macs=round(op.macs * factor),
        params=round(op.params * factor),
    )


def _up(channels: int, block: int) -> int:
    return channels if channels < block else -(-channels // block) * block
