"""Whole blocks that a network can do without: what is added to a stream that goes on without it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["find_blocks", "leave_out"]


def find_blocks(
    outline: nn.Module, coupled: Sequence[tuple[Sequence[str], Sequence[str]]], input_shape: Sequence[int]
) -> dict[str, tuple[str, ...]]:
    """The blocks of each `nn.Sequential` that can be left out, in the network's order.

    Such a block gives the shape that it takes, reads channels that layers before it have made, and adds to them: the
    sum of a residual network. One without which the network does not run is none.

    Args:
        outline: the network on the meta device.
        coupled: for each group of channels, the names of the layers that hold them, and of those that read them.
        input_shape: without the batch.
    Returns:
        Dotted path of the sequence -> those of its blocks.
    """
    names = [name for name, _ in outline.named_modules()]
    order = {name: at for at, name in enumerate(names)}
    shapes = _shapes(outline, input_shape)
    groups = [([name for name in held if _makes(outline.get_submodule(name))], read) for held, read in coupled]
    found: dict[str, tuple[str, ...]] = {}
    for name, module in outline.named_modules():
        if not isinstance(module, nn.Sequential) or any(_is_in(name, block) for of in found.values() for block in of):
            continue
        children = [f"{name}.{child}" if name else child for child, _ in module.named_children()]
        blocks = [
            child
            for child in children
            if shapes.get(child, (None, 0))[0] == shapes.get(child, (None, 0))[1]
            and any(_adds(child, made, read, order) for made, read in groups)
            and _runs(leave_out(copy.deepcopy(outline), [child]), input_shape, shapes[""][1])
        ]
        if blocks:
            found[name] = tuple(blocks)
    return found


def leave_out(network: nn.Module, blocks: Sequence[str]) -> nn.Module:
    """Let these blocks pass on what they are given, in place."""
    for block in blocks:
        network.set_submodule(block, nn.Identity())
    return network


def _is_in(name: str, block: str) -> bool:
    return name == block or name.startswith(f"{block}.")


def _makes(layer: nn.Module) -> bool:
    """Whether a layer mixes what it is given to channels of its own; a norm or a depthwise convolution passes it on."""
    if isinstance(layer, nn.modules.conv._ConvNd):
        return layer.groups == 1 or layer.groups < layer.out_channels
    return isinstance(layer, nn.Linear)


def _adds(block: str, made: Sequence[str], read: Sequence[str], order: Mapping[str, int]) -> bool:
    """Whether a block reads channels of a layer before it, and makes the same ones."""
    makes, reads = (any(_is_in(layer, block) for layer in layers) for layers in (made, read))
    return makes and reads and any(order[layer] < order[block] for layer in made)


def _shapes(outline: nn.Module, input_shape: Sequence[int]) -> dict[str, tuple[object, object]]:
    """Shapes that enter and leave each module that is called once, with one tensor."""
    seen: dict[str, tuple[object, object]] = {}
    calls: dict[str, int] = {}
    hooks = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if len(given) == 1 and isinstance(given[0], Tensor) and isinstance(output, Tensor):
                seen[name] = (tuple(given[0].shape), tuple(output.shape))

        return hook

    for name, module in outline.named_modules():
        hooks.append(module.register_forward_hook(note(name)))
    try:
        with torch.no_grad():
            outline(torch.empty(2, *input_shape, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: shapes for name, shapes in seen.items() if calls[name] == 1}


def _runs(network: nn.Module, input_shape: Sequence[int], wanted: object) -> bool:
    try:
        with torch.no_grad():
            return tuple(network(torch.empty(2, *input_shape, device="meta")).shape) == wanted
    except Exception:  # noqa: BLE001 - a network of the user's may raise anything
        return False
