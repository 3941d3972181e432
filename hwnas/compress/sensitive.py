"""Layers that int8 harms most: found by rounding one at a time, so that they can be kept in fp32."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hwnas.compress.quantize import layers_to_round, simulate

__all__ = ["keep_in_fp32", "most_sensitive"]


def most_sensitive(model: nn.Module, samples: Tensor, *, weight_bits: int = 8) -> list[str]:
    """Names of the layers that int8 would round, the most harmful first.

    A layer's harm is the squared error of the logits when it alone is rounded, on the ranges of the samples.

    Args:
        model: in eval mode, on the CPU; not changed.
        samples: `n x input_shape`, normalised training samples.
        weight_bits: 8, or 7 for CPUs whose int8 kernels saturate.
    Source: Wu et al., Integer Quantization for Deep Learning Inference, 2020, section 6.1 (partial quantization).
    """
    names = {module: name for name, module in model.named_modules()}
    layers = [names[layer] for layer in layers_to_round(model)]
    with torch.inference_mode():
        wanted = model(samples)
        harm = {}
        for name in layers:
            alone = keep_in_fp32(model, [other for other in layers if other != name])
            rounded = simulate(alone, "int8", samples, weight_bits=weight_bits, in_place=True)
            harm[name] = float(((rounded(samples) - wanted) ** 2).mean())
    return sorted(layers, key=lambda name: -harm[name])


def keep_in_fp32(model: nn.Module, names: list[str]) -> nn.Module:
    """A copy in which these layers say that they compute in fp32 at every precision."""
    own = copy.deepcopy(model)
    for name in names:
        own.get_submodule(name).keeps_fp32 = True  # type: ignore[assignment]
    return own
