"""Whole heads of attention that a network can do without, each attention's own ones by their importance."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from hwnas.compress.attention import FewerHeads, rows_of
from hwnas.compress.projections import Projections, readings
from hwnas.core.error_text import first_line

__all__ = ["HeadGroup", "cut_heads", "find_heads"]

SHARES = (0.25, 0.5, 0.75, 1.0)  # of an attention's heads, that may stay
_RELATIVE = 1e-4  # by which a network without heads may differ from one that does not listen to them


@dataclass(frozen=True)
class HeadGroup:
    """The heads of one attention.

    Attributes:
        name: dotted path of the attention.
        heads: how many there are.
        order: their numbers, the least important first.
        projections: of attention that is not torch's own; None: an `nn.MultiheadAttention`.
    """

    name: str
    heads: int
    order: tuple[int, ...]
    projections: Projections | None = field(default=None, repr=False)

    @property
    def options(self) -> tuple[int, ...]:
        """How many heads may stay, ascending; the last is all."""
        return tuple(sorted({max(1, round(self.heads * share)) for share in SHARES}))

    def left(self, count: int) -> list[int]:
        """Numbers of the heads that stay, if `count` do."""
        return sorted(self.order[self.heads - count :])

    def is_in(self, blocks: Sequence[str]) -> bool:
        """Whether the attention is one of these modules, or a part of one."""
        return any(self.name == block or self.name.startswith(f"{block}.") for block in blocks)

    def is_inside(self, layer: str, *, is_output: bool) -> bool:
        """Whether a layer's outputs (or inputs) are features of single heads, which must not lose any alone."""
        own = self.projections
        if own is None:
            return False  # `nn.MultiheadAttention` loses the same places of each head, which stay side by side
        return layer in dict(own.rows) if is_output else layer == own.out

    def cut(self, network: nn.Module, count: int) -> None:
        """Leave `count` heads, in place. Channels of the network may have been cut before."""
        if self.projections is not None:
            self.projections.cut(network, self.name, self.left(count))
            return
        attention = network.get_submodule(self.name)
        assert isinstance(attention, nn.MultiheadAttention)
        network.set_submodule(self.name, FewerHeads.of(attention, self.left(count)))
        _give_up_nesting(network)

    def without(self, network: nn.Module, count: int) -> None:
        """Let nobody listen to the other heads, in place: what the network without them must answer like."""
        layer, gone = _out(network, self), self.order[: self.heads - count]
        with torch.no_grad():
            layer.weight[:, rows_of(gone, layer.in_features // self.heads)] = 0.0


def _give_up_nesting(network: nn.Module) -> None:
    """Let torch's encoders pad, in place: nested tensors are for torch's own attention alone."""
    for module in network.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def cut_heads(network: nn.Module, groups: Sequence[HeadGroup], stay: Mapping[str, int]) -> nn.Module:
    """Leave so many heads in each attention that is named, in place."""
    for group in groups:
        if stay.get(group.name, group.heads) < group.heads:
            group.cut(network, stay[group.name])
    return network


def find_heads(network: nn.Module, importance: str, inputs: Tensor) -> tuple[tuple[HeadGroup, ...], tuple[str, ...]]:
    """The attention whose heads can go, in the network's order, and why that of others stays whole.

    An attention is one of them if the network without some of its heads gives the same as the whole network in which
    the layer after the heads has zeros for them.

    Args:
        network: in eval mode on the CPU; with gradients of the loss, if "taylor" is asked for. It is not changed.
        importance: "taylor", the first-order change of the loss without what is read of a head (the sum of
            |weight x gradient|), or "magnitude", the sum of its squared weights.
        inputs: `n x input_shape`, on which both are compared.
    Source: Michel et al., Are Sixteen Heads Really Better than One?, NeurIPS 2019.
    """
    frozen = copy.deepcopy(network).requires_grad_(False)
    frozen.zero_grad(set_to_none=True)
    _give_up_nesting(frozen)
    found: list[HeadGroup] = []
    reasons: list[str] = []
    for name, ways in _attention(network):
        reason: str | None = ways if isinstance(ways, str) else None
        for way in () if isinstance(ways, str) else ways:
            group = _ranked(network, name, way, importance)
            first = _differs(frozen, group, inputs)
            if first is None:
                found.append(group)
                reason = None
                break
            reason = reason or first
        if reason is not None:
            reasons.append(f"the heads of {name!r} stay: {reason}")
    return tuple(found), tuple(reasons)


def _attention(network: nn.Module) -> Iterator[tuple[str, Iterator[Projections | None] | str]]:
    """Name of each attention, and the ways in which it may be read (None: torch's own), or why there is none."""
    for name, module in network.named_modules():
        if not name:
            continue
        if not isinstance(module, nn.MultiheadAttention):
            if (ways := readings(network, name)) is not None:
                yield name, ways
        elif module.bias_k is not None or module.add_zero_attn:
            yield name, "it has keys that belong to no token (add_bias_kv, add_zero_attn)"
        elif module.num_heads > 1:
            yield name, iter((None,))


def _ranked(network: nn.Module, name: str, way: Projections | None, importance: str) -> HeadGroup:
    attention = network.get_submodule(name)
    heads = attention.num_heads if isinstance(attention, nn.MultiheadAttention) else way.heads if way else 0
    group = HeadGroup(name, heads, tuple(range(heads)), way)
    weight = _out(network, group).weight
    read = weight.detach().square()
    if importance == "taylor":
        gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
        read = (weight.detach() * gradient).abs()
    worth = torch.nan_to_num(read.sum(0).view(heads, -1).sum(1))
    return replace(group, order=tuple(worth.argsort(stable=True).tolist()))


def _out(network: nn.Module, group: HeadGroup) -> nn.Linear:
    """The layer that reads what the heads found."""
    own = group.projections
    layer = network.get_submodule(f"{group.name}.out_proj" if own is None else own.out)
    assert isinstance(layer, nn.Linear)
    return layer


def _differs(network: nn.Module, group: HeadGroup, inputs: Tensor) -> str | None:
    """What is wrong with the network without some of these heads, in words; None: nothing."""
    for count in sorted({1, group.heads - 1}):
        wanted = _answers(network, group, partial(group.without, count=count), inputs)
        try:
            got = _answers(network, group, partial(group.cut, count=count), inputs)
        except Exception as error:  # noqa: BLE001 - a network of the user's may raise anything
            return f"the network does not run without some of them: {first_line(error)}"
        if len(wanted) < 2 or len(wanted) != len(got):
            return "the network does not call it, or looks into it"
        if not all(_alike(*pair) for pair in zip(wanted, got, strict=True)):
            return "without some of them the network answers otherwise than where nothing listens to them"
    return None


def _answers(network: nn.Module, group: HeadGroup, change: Callable[[nn.Module], None], inputs: Tensor) -> list[Tensor]:
    """What the attention and the changed network give: layers that come later could hide a difference."""
    twin, seen = copy.deepcopy(network), list[Tensor]()
    change(twin)
    own = group.projections
    watched = twin.get_submodule(group.name if own is None or own.replaced else own.out)
    watched.register_forward_hook(lambda _, given, out: seen.append(out if isinstance(out, Tensor) else out[0]))
    with torch.no_grad():
        answer = twin(inputs)
    return [*seen, answer]


def _alike(wanted: Tensor, got: Tensor) -> bool:
    if wanted.shape != got.shape or not bool(wanted.isfinite().all()):
        return False
    return float((wanted - got).abs().max()) <= _RELATIVE * max(float(wanted.abs().max()), 1e-6)
