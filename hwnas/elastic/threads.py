"""How many threads torch computes with: one for small work, where more only wait for each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["threads_for"]

# Multiply-adds of one batch. Below, a second thread gains nothing on an idle machine, and costs much on a busy one.
SMALL_WORK_MACS = 1e9


@contextmanager
def threads_for(batch_macs: float) -> Iterator[None]:
    """Set torch's threads for batches of so many multiply-adds (forward), and put the setting back afterwards.

    The number depends on the work alone, so that the same search computes the same on every run.
    """
    before = torch.get_num_threads()
    if batch_macs < SMALL_WORK_MACS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
