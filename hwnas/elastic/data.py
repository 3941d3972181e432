"""From a split's raw arrays to normalised batches, and the accuracy of a model on a split."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.core.task import InputPreprocessing, Preprocessing, Split
from hwnas.errors import ConfigError

__all__ = ["accuracy", "batch_for", "batches", "device_of", "normalised"]

BATCH_PIXELS = 2**20  # 256 images of 64 pixels a side


def normalised(inputs: NDArray[Any], preprocessing: InputPreprocessing, device: torch.device | str = "cpu") -> Tensor:
    """`preprocessing(inputs)` as a tensor on `device`; that of images is computed there.

    Args:
        inputs: raw, as a split holds them; images are `n x channels x height x width` (or without the two sides).
    Returns:
        The same shape, in channels_last layout where there are four dimensions: float32, or int64 ids.
    """
    if not isinstance(preprocessing, Preprocessing):
        return torch.from_numpy(np.ascontiguousarray(preprocessing(inputs))).to(device)
    raw = torch.as_tensor(np.ascontiguousarray(inputs)).to(device)
    shape = (1, -1, *(1,) * (raw.ndim - 2))
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32, device=raw.device).view(shape)
    std = torch.tensor(preprocessing.std, dtype=torch.float32, device=raw.device).view(shape)
    layout = torch.channels_last if raw.ndim == 4 else torch.contiguous_format
    values = raw.to(dtype=torch.float32, memory_format=layout, copy=True)
    return values.mul_(1 / (255 * std)).sub_(mean / std)


def batches(
    split: Split,
    preprocessing: InputPreprocessing,
    batch_size: int,
    *,
    shuffle: bool = False,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
    limit: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Walk through a split once.

    Args:
        split: where the samples come from.
        preprocessing: how they are normalised.
        batch_size: samples a batch. The last batch is what remains; with `shuffle` a remainder is left out (batch
            norm cannot learn from one sample, and the next epoch draws anew), unless it is the only batch.
        shuffle: draw a new order; needs `generator`.
        generator: a CPU generator.
        device: where the tensors go.
        limit: use the first `limit` samples of the split only.
    Yields:
        Normalised inputs `n x input_shape` (float32, channels_last where 4-D; or int64 ids) and int64 labels `n`.
    Raises:
        ConfigError: `batch_size` or `limit` is below 1, or `shuffle` has no generator.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"batch_size and limit must be at least 1, got {batch_size} and {limit}")
    if shuffle and generator is None:
        raise ConfigError("a shuffled walk needs a generator; pass torch.Generator().manual_seed(seed)")
    count = len(split) if limit is None else min(limit, len(split))
    order = torch.randperm(count, generator=generator).numpy() if shuffle else np.arange(count)
    end = count - count % batch_size if shuffle and count >= batch_size else count
    labels = torch.from_numpy(split.labels[order]).to(device)
    for start in range(0, end, batch_size):
        stop = min(start + batch_size, end)
        yield normalised(split.inputs[order[start:stop]], preprocessing, device), labels[start:stop]


def batch_for(split: Split, most: int = 256) -> int:
    """Samples a batch that fit the memory of an ordinary machine: `most`, fewer where images are large."""
    return max(1, min(most, BATCH_PIXELS // max(1, math.prod(split.inputs.shape[2:]))))


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights lie; the CPU if it has none."""
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))


def accuracy(
    model: nn.Module,
    split: Split,
    preprocessing: InputPreprocessing,
    batch_size: int | None = None,
    limit: int | None = None,
) -> float:
    """Share (0-1) of samples whose largest logit is the label's; the model's train or eval mode is left as it was.

    Args:
        model: `n x input_shape` -> `n x n_outputs`, on any device; it is run in eval mode.
        batch_size: samples at a time; None: `batch_for`.
        limit: read the first `limit` samples only.
    """
    device, was_training = device_of(model), model.training
    model.eval()
    hits, total = torch.zeros((), dtype=torch.int64, device=device), 0
    try:
        with torch.inference_mode():
            size = batch_size or batch_for(split)
            for inputs, labels in batches(split, preprocessing, size, device=device, limit=limit):
                hits += (model(inputs).argmax(dim=1) == labels).sum()
                total += len(labels)
    finally:
        model.train(was_training)
    return int(hits) / total
