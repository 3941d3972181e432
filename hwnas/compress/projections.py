"""Attention that people write themselves: which rows and columns of its linear layers belong to which head."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import nn

from hwnas.compress.attention import SelfAttention, part_of, rows_of

__all__ = ["Projections", "readings"]

# How modules call the number of their heads, and what lies between their projections.
COUNTS = (
    *("num_heads", "n_heads", "heads", "num_attention_heads", "n_head", "nhead"),
    *("num_key_value_heads", "n_kv_heads"),
)
INNER = ("all_head_size", "inner_dim", "attn_dim", "attention_dim", "inner_size")
_PARTS = {
    **dict.fromkeys(("q", "query", "queries", "k", "key", "keys", "v", "value", "values"), 1),
    **dict.fromkeys(("kv", "keyvalue"), 2),
    **dict.fromkeys(("qkv", "in", "querykeyvalue"), 3),
}
_AFFIXES = re.compile(r"^(to|w|fc|proj|linear|lin)|(projection|proj|linear|lin|layer|fc|w)$")


@dataclass(frozen=True)
class Projections:
    """How the heads of a module lie in its linear layers.

    Attributes:
        heads: how many there are.
        size: features of each.
        rows: of the layers that make queries, keys and values, for each head its own.
        out: the layer that reads what the heads found, side by side.
        counts: attributes of the module that grow with its heads, and by how much each adds.
        replaced: whether its forward cannot do with fewer heads, so that `SelfAttention` takes its place.
    """

    heads: int
    size: int
    rows: tuple[tuple[str, tuple[tuple[int, ...], ...]], ...]
    out: str
    counts: tuple[tuple[str, int], ...]
    replaced: bool = False

    def cut(self, network: nn.Module, name: str, left: list[int]) -> None:
        """Leave these heads alone in the attention `name`, in place."""
        makers = [_layer(network, layer) for layer, _ in self.rows]
        out = part_of(_layer(network, self.out), columns=rows_of(left, self.size))
        if self.replaced:
            # Of a fused layer the queries' rows of all heads come first, then the keys', then the values'.
            q, k, v = (
                part_of(layer, rows=[place + start for place in rows_of(left, self.size)])
                for layer in makers
                for start in range(0, layer.out_features, self.heads * self.size)
            )
            stand_in = SelfAttention((q, k, v, out), left=left, whole=self.heads)
            network.set_submodule(name, stand_in.train(network.get_submodule(name).training))
            return
        for layer, (path, rows) in zip(makers, self.rows, strict=True):
            network.set_submodule(path, part_of(layer, rows=sorted(row for head in left for row in rows[head])))
        network.set_submodule(self.out, out)
        for attribute, each in self.counts:
            setattr(network.get_submodule(name), attribute, len(left) * each)


def readings(network: nn.Module, name: str) -> Iterator[Projections] | str | None:
    """What the attention `name` may look like inside, the likeliest first, or why it is none; None: it is no attention.

    Names say which layers make queries, keys and values. How rows of a fused one lie, which layer reads the heads and
    what else of the module depends on their number is not told by names: each way is to be tried.
    """
    module = network.get_submodule(name)
    counts = {key: value for key, value in vars(module).items() if type(value) is int}
    heads = next((counts[key] for key in COUNTS if key in counts), 0)
    roles = {
        role: f"{name}.{child}"
        for child, layer in module.named_children()
        if isinstance(layer, nn.Linear) and (role := _role(child)) in _PARTS
    }
    layers = {roles[role]: _PARTS[role] for role in sorted(roles, key=lambda role: "iqkv".index(role[0]))}
    if heads < 2 or sum(layers.values()) != 3:
        return None
    inner = {_layer(network, layer).out_features / parts for layer, parts in layers.items()}
    if len(inner) > 1:
        return "its queries and keys have different numbers of heads"
    if (width := inner.pop()) % heads:
        return f"{width:g} features do not come in {heads} heads"
    outs = _readers(network, name, int(width), layers)
    if not outs:
        return f"no linear layer that reads its {width:g} features was found"
    return _ways(heads, int(width) // heads, layers, outs, counts, inside=name)


def _ways(
    heads: int, size: int, layers: Mapping[str, int], outs: list[str], counts: Mapping[str, int], *, inside: str
) -> Iterator[Projections]:
    numbers = {key: 1 for key, value in counts.items() if key in COUNTS and value == heads}
    sizes = {key: size for key, value in counts.items() if key in INNER and value == heads * size}
    all_sizes = {key: size for key, value in counts.items() if value == heads * size and key not in COUNTS}
    by_part = tuple(
        (path, tuple(_rows(head, heads, size, parts) for head in range(heads))) for path, parts in layers.items()
    )
    for out in outs:
        way = Projections(heads, size, by_part, out, tuple((numbers | sizes).items()))
        yield way
        if all_sizes != sizes:
            yield replace(way, counts=tuple((numbers | all_sizes).items()))
        if max(layers.values()) > 1:
            by_head = tuple(
                (path, tuple(tuple(rows_of([head], size * parts)) for head in range(heads)))
                for path, parts in layers.items()
            )
            yield replace(way, rows=by_head)
        if out.startswith(f"{inside}."):
            yield replace(way, replaced=True)


def _rows(head: int, heads: int, size: int, parts: int) -> tuple[int, ...]:
    """Rows of a head in a layer of so many parts, each of all heads."""
    return tuple(part * heads * size + row for part in range(parts) for row in rows_of([head], size))


def _readers(network: nn.Module, name: str, width: int, makers: Mapping[str, int]) -> list[str]:
    """Linear layers of this many inputs: of the module itself, or else of the module that it is in."""
    layers = ((path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear))
    found = [path for path, layer in layers if layer.in_features == width and path not in makers]
    home = name.rpartition(".")[0]
    own = [path for path in found if path.startswith(f"{name}.")]
    return own or [path for path in found if not home or path.startswith(f"{home}.")]


def _role(name: str) -> str:
    """A layer's name without case, separators and what only says that it is a layer."""
    letters = re.sub(r"[^a-z]", "", name.lower())
    while letters not in _PARTS and (shorter := _AFFIXES.sub("", letters)) != letters:
        letters = shorter
    return letters


def _layer(network: nn.Module, path: str) -> nn.Linear:
    layer = network.get_submodule(path)
    assert isinstance(layer, nn.Linear)
    return layer
