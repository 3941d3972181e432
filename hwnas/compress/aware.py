"""Quantization-aware training: weights learn to be rounded, and what reads them to read them rounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hwnas.compress.distill import FineTuneResult, fine_tune
from hwnas.compress.quantize import as_if_int8, fold_batch_norm, quantized_weight
from hwnas.core.task import Task

__all__ = ["train_aware"]

_ORIGINAL = "parametrizations.weight.original"


class _Rounded(nn.Module):
    """Of a weight, what int8 keeps; the gradient goes through as if nothing was rounded.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
        CVPR 2018; Bengio, Leonard, Courville, Estimating or Propagating Gradients Through Stochastic Neurons, 2013.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        plain = weight.detach()
        return weight + (quantized_weight(plain, self.bits) - plain)


def train_aware(
    model: nn.Module, task: Task, calibration: Tensor, *, weight_bits: int = 8, **settings: Any
) -> FineTuneResult:
    """Fine-tune a copy in which batch norm is folded and convolutions and linear layers compute as they will in int8.

    Args:
        model: trained, plain; not changed.
        task: as for `fine_tune`.
        calibration: `n x input_shape`, normalised training samples; they set the ranges of activations, which stay.
        weight_bits: 8, or 7 for CPUs whose int8 kernels saturate.
        settings: of `fine_tune`.
    Returns:
        A plain network in full precision, to be quantized as ever; its accuracies are those simulated at int8, after
        and before, and the first is never below the second.
    Raises:
        ConfigError, TrainingError: see `fine_tune`.
    """
    plain = fold_batch_norm(model)

    def round_weight(layer: nn.Module) -> None:
        parametrize.register_parametrization(layer, "weight", _Rounded(weight_bits))

    with torch.no_grad():
        wrapped = as_if_int8(fold_batch_norm(model), calibration, round_weight, is_trained=True)
    found = fine_tune(wrapped, task, **settings)
    weights = {name.replace(_ORIGINAL, "weight"): value for name, value in found.model.state_dict().items()}
    plain.load_state_dict(weights)
    return replace(found, model=plain.eval())
