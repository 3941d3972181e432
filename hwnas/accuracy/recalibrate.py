"""Batch-norm recalibration: a subnet's own statistics, before its accuracy is read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["recalibrate"]


def recalibrate(model: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """Recompute the batch-norm statistics of `model`, in place, and leave it in eval mode.

    Args:
        inputs: normalised batches of the *training* split, `n x input_shape` each.
    Source: Yu and Huang, Universally Slimmable Networks, ICCV 2019, section 3.4.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return model.eval()
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over all batches
        layer.train()
    with torch.no_grad():
        for batch in inputs:
            model(batch)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return model.eval()
