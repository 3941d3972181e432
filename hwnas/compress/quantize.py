"""Post-training quantization, simulated in torch: how a network answers at another precision.

The search reads accuracy from this; a finished model's accuracy is read from the deployed file instead.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from hwnas.core.compression import PRECISIONS
from hwnas.elastic.data import device_of
from hwnas.errors import ConfigError

__all__ = ["as_if_int8", "fold_batch_norm", "layers_to_round", "quantized_weight", "simulate"]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
QUANTIZED = (*CONVOLUTIONS, nn.Linear)
# A runtime quantizes the result of these together with the layer before them.
FUSED_ACTIVATIONS = (nn.ReLU, nn.ReLU6)
ROUNDED_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """A copy in eval mode in which batch norm is part of the convolution before it, as deployment does it.

    Pairs are found in `nn.Sequential` and in the forward of each module; where the flow of data cannot be followed
    or a layer is used twice, both layers stay. The copy gives the same answers.
    """
    folded = copy.deepcopy(model).eval()
    uses = _uses(folded)
    for parent in list(folded.modules()):
        for conv_name, norm_name in _pairs(parent):
            conv, norm = parent.get_submodule(conv_name), parent.get_submodule(norm_name)
            if uses.get(conv) == uses.get(norm) == 1 and _can_fold(conv, norm):
                _fold(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))
                parent.set_submodule(norm_name, nn.Identity())
    return folded


def simulate(
    model: nn.Module, precision: str, calibration: Tensor, *, weight_bits: int = 8, in_place: bool = False
) -> nn.Module:
    """A copy in eval mode that computes in float32 but rounds as if it ran at `precision`.

    fp32 changes nothing. fp16 and bf16 round the weights, inputs and outputs of convolutions and linear layers.
    Modules that say `keeps_fp32` of themselves are not rounded, as in deployed files.
    int8 rounds their weights (symmetric, a scale per output channel) and their inputs and outputs (8 bits, one scale
    and zero-point a tensor) on the range that the calibration batch spans; other operations are not rounded.
    int8-dynamic rounds their inputs on the range that each sample spans, and not their outputs; int8-weights rounds
    weights alone.

    Args:
        model: a plain network (no supernet), on any device; not changed.
        precision: one of `PRECISIONS`.
        calibration: `n x input_shape`, normalised training samples; read for int8 only.
        weight_bits: 8, or 7 for CPUs whose int8 kernels saturate.
        in_place: `model` may be changed, which spares a copy.
    Raises:
        ConfigError: unknown precision, or `weight_bits` is not 2 to 8.
    """
    if precision not in PRECISIONS or not 2 <= weight_bits <= 8:
        raise ConfigError(
            f"precision must be one of {', '.join(PRECISIONS)} and weight_bits 2 to 8, got {precision!r}, {weight_bits}"
        )
    own = model if in_place else copy.deepcopy(model)
    if precision == "fp32":
        return own.eval()
    # Folding matters to rounded weights and ranges alone, and costs as much as reading a small network's accuracy.
    simulated = fold_batch_norm(own) if precision.startswith("int8") else own.eval()

    def round_weight(layer: nn.Module) -> None:
        weight = layer.get_parameter("weight")
        weight.copy_(quantized_weight(weight, weight_bits))

    with torch.no_grad():
        if precision == "int8":
            return as_if_int8(simulated, calibration.to(device_of(simulated)), round_weight)
        if precision in ROUNDED_TYPES:
            _round(layers_to_round(simulated), ROUNDED_TYPES[precision])
            return simulated
        for layer in layers_to_round(simulated):
            round_weight(layer)
            if precision == "int8-dynamic":
                layer.register_forward_pre_hook(lambda _, inputs: (_rounded_by_sample(inputs[0]), *inputs[1:]))
    return simulated


def as_if_int8(
    model: nn.Module, calibration: Tensor, round_weight: Callable[[nn.Module], None], *, is_trained: bool = False
) -> nn.Module:
    """The model itself, its layers rounded as at int8 on the ranges that a calibration batch spans.

    Args:
        model: in eval mode, batch norm folded.
        calibration: `n x input_shape`, on the model's device.
        round_weight: makes a layer's weight a rounded one.
        is_trained: gradients go through as if nothing was rounded.
    """
    layers = layers_to_round(model)
    for layer in layers:
        round_weight(layer)
    for layer, (given, left, fused) in _ranges(model, layers, calibration).items():
        before, after = _quantizer(*given), _quantizer(*left, clip_low=not fused)
        _apply_around(layer, *((_straight(before), _straight(after)) if is_trained else (before, after)))
    return model


def layers_to_round(model: nn.Module) -> list[nn.Module]:
    """Convolutions and linear layers, without those that stay in fp32 at every precision."""
    kept = {part for module in model.modules() if getattr(module, "keeps_fp32", False) for part in module.modules()}
    return [module for module in model.modules() if isinstance(module, QUANTIZED) and module not in kept]


def _straight(rounded: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor + (rounded(tensor.detach()) - tensor.detach())


def _uses(model: nn.Module) -> dict[nn.Module, int]:
    """How many names each module has."""
    uses: dict[nn.Module, int] = {}
    for _, module in model.named_modules(remove_duplicate=False):
        uses[module] = uses.get(module, 0) + 1
    return uses


def _can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    return (
        isinstance(conv, CONVOLUTIONS)
        and isinstance(norm, NORMS)
        and norm.running_mean is not None
        and norm.num_features == conv.out_channels
    )


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        cast(Tensor, norm.running_mean),
        cast(Tensor, norm.running_var),
        norm.eps,
        norm.weight,
        norm.bias,
    )


def _pairs(parent: nn.Module) -> list[tuple[str, str]]:
    """Names of (convolution, batch norm) where the norm is all that reads the convolution."""
    children = list(parent.named_children())
    if isinstance(parent, nn.Sequential):
        return [(a, b) for (a, _), (b, _) in pairwise(children)]
    if not any(isinstance(module, NORMS) for module in parent.modules() if module is not parent):
        return []
    try:
        graph = _ShallowTracer().trace(parent)
    except _UNTRACEABLE:
        return []
    calls = {str(node.target): node for node in graph.nodes if node.op == "call_module"}
    names = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    once = {name for name in names if names.count(name) == 1}
    readers = {name: list(node.users) for name, node in calls.items() if name in once}
    return [
        (name, str(users[0].target)) for name, users in readers.items() if len(users) == 1 and users[0].target in once
    ]


# What a forward raises that asks a traced value for its content.
_UNTRACEABLE = (
    fx.proxy.TraceError,
    TypeError,
    ValueError,
    RuntimeError,
    AttributeError,
    NameError,
    KeyError,
    IndexError,
)


class _ShallowTracer(fx.Tracer):
    """Follows the forward of one module and takes every module that it calls as a whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _round(layers: list[nn.Module], kind: torch.dtype) -> None:
    def rounded(tensor: Tensor) -> Tensor:
        return tensor.to(kind).to(tensor.dtype)

    for layer in layers:
        for parameter in layer.parameters(recurse=False):
            parameter.copy_(rounded(parameter))
        _apply_around(layer, rounded, rounded)


def _apply_around(layer: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> None:
    layer.register_forward_pre_hook(lambda _, inputs: (before(inputs[0]), *inputs[1:]))
    layer.register_forward_hook(lambda _, __, output: after(output))


def quantized_weight(weight: Tensor, bits: int) -> Tensor:
    """Symmetric, one scale an output channel. Seven bits are -64..64 as in ONNX Runtime's reduce_range."""
    top = 127 if bits == 8 else 2 ** (bits - 1)
    scale = (weight.flatten(1).abs().amax(dim=1) / top).clamp(min=torch.finfo(weight.dtype).tiny)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -top, top)


Span = tuple[float, float]


def _ranges(model: nn.Module, layers: list[nn.Module], calibration: Tensor) -> dict[nn.Module, tuple[Span, Span, bool]]:
    """Run the calibration batch and note the least and the most that enters and leaves each layer.

    Returns:
        For each layer that ran: the span of its input, the span of its output, and whether that is the output of an
        activation fused to it.
    """
    entered: dict[nn.Module, Tensor] = {}
    left: dict[nn.Module, Tensor] = {}
    activated: dict[nn.Module, Tensor] = {}
    made_by: dict[int, nn.Module] = {}
    alive: list[Tensor] = []  # so that no two outputs share an id

    def on_layer(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        _widen(entered, module, given[0])
        _widen(left, module, output)
        made_by[id(output)] = module
        alive.append(output)

    def on_activation(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        if (layer := made_by.get(id(given[0]))) is not None:
            _widen(activated, layer, output)

    hooks = [layer.register_forward_hook(on_layer) for layer in layers]
    activations = [module for module in model.modules() if isinstance(module, FUSED_ACTIVATIONS)]
    hooks += [module.register_forward_hook(on_activation) for module in activations]
    try:
        model(calibration)
    finally:
        for hook in hooks:
            hook.remove()
    if not entered:
        return {}
    spans = torch.stack([torch.stack((entered[m], activated.get(m, left[m]))) for m in entered]).tolist()
    return {m: (tuple(given), tuple(out), m in activated) for m, (given, out) in zip(entered, spans, strict=True)}


def _rounded_by_sample(tensor: Tensor) -> Tensor:
    """Each sample to 256 steps between its own least and most; zero is one of them."""
    flat = tensor.flatten(1)
    low, high = flat.amin(1).clamp(max=0.0), flat.amax(1).clamp(min=0.0)
    scale = ((high - low) / 255).clamp(min=1e-12)
    zero = (-low / scale).round()
    rounded = (flat / scale[:, None]).round().clamp(-zero[:, None], 255 - zero[:, None]) * scale[:, None]
    return rounded.reshape(tensor.shape)


def _widen(known: dict[nn.Module, Tensor], module: nn.Module, tensor: Tensor) -> None:
    low, high = torch.aminmax(tensor)
    if module in known:
        low, high = torch.minimum(low, known[module][0]), torch.maximum(high, known[module][1])
    known[module] = torch.stack((low, high))


def _quantizer(low: float, high: float, *, clip_low: bool = True) -> Callable[[Tensor], Tensor]:
    """Round to 256 steps; zero is one of them, so that padding stays exact.

    Without `clip_low` values below the span are rounded but kept: the activation that follows cuts them off, and
    whatever else reads them is not harmed.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, 1e-12)
    zero = round(-low / scale)
    least, most = (-zero if clip_low else -(2**20)), 255 - zero
    # Four plain passes are ten times faster here than torch.fake_quantize_per_tensor_affine, and give the same.
    return lambda tensor: tensor.mul(1 / scale).round_().clamp_(least, most).mul_(scale)
