from __future__ import annotations

import numpy as np
from hwnas.search_spaces.resnet import SPACE

from hwnas.core.candidate import Candidate
from hwnas.core.task import TaskShape
from hwnas.trace import operations

TASK = TaskShape((3, 32, 32), 10)


def test_no_convolution_is_depthwise() -> None:
    space = SPACE.for_task(TASK)
    rng = np.random.default_rng(0)
    kinds = {op.kind for _ in range(5) for op in operations(space, Candidate(space.sample(rng)), TASK)}
    assert "conv" in kinds
    assert not kinds & {"depthwise", "grouped", "other"}


def test_the_largest_network_has_the_work_of_its_convolutions() -> None:
    space = SPACE.for_task(TASK)
    # (stem, then for each stage) input and output channels, side of the output, number of blocks; 3x3 convolutions.
    macs, given = 9 * 3 * 32 * 16 * 16, 32
    for width, side, n_blocks in ((32, 16, 3), (64, 8, 3), (128, 4, 3), (192, 4, 2)):
        macs += side * side * (9 * given * width + given * width + 9 * width * width * (2 * n_blocks - 1))
        given = width
    assert operations(space, Candidate(space.largest()), TASK).macs == macs + given * 10
