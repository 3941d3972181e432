"""Stages of a network: parts of its module tree, few enough that a search can choose a ratio for each."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["MOST_STAGES", "find_stages"]

MOST_STAGES = 8


def find_stages(names: Sequence[str], most: int = MOST_STAGES) -> dict[str, tuple[int, ...]]:
    """Share layers out to stages along the module tree.

    The part with most layers is opened as long as no more than `most` stages come out; where the network's own children
    are more, neighbours with the fewest layers become one, named `first-last`.

    Args:
        names: dotted paths of layers, in the network's order.
    Returns:
        Stage -> places in `names`, in the network's order; each place once.
    """
    parts = _split(names, range(len(names)), 0)
    depths = [1] * len(parts)
    while (at := _widest(names, parts, depths, most)) is not None:
        inner = _split(names, parts[at], depths[at])
        parts[at : at + 1] = inner
        depths[at : at + 1] = [depths[at] + 1] * len(inner)
    labels = [_label(names, part, depth) for part, depth in zip(parts, depths, strict=True)]
    ends = [(label, label) for label in labels]
    while len(parts) > most:
        at = min(range(len(parts) - 1), key=lambda i: len(parts[i]) + len(parts[i + 1]))
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        ends[at : at + 2] = [(ends[at][0], ends[at + 1][1])]
    stages = {
        first if first == last else f"{first}-{last}": part for (first, last), part in zip(ends, parts, strict=True)
    }
    return {name: tuple(part) for name, part in stages.items()}


def _split(names: Sequence[str], part: Sequence[int], depth: int) -> list[list[int]]:
    """The children of a part, by the next component of the path."""
    children: dict[str, list[int]] = {}
    for place in part:
        children.setdefault(".".join(names[place].split(".")[: depth + 1]), []).append(place)
    return list(children.values())


def _widest(names: Sequence[str], parts: list[list[int]], depths: list[int], most: int) -> int | None:
    """Which part to open next: the one with most layers among those that can be."""
    can = []
    for at, (part, depth) in enumerate(zip(parts, depths, strict=True)):
        inner = len(_split(names, part, depth))
        deeper = any(names[place].count(".") >= depth for place in part)
        if len(part) > 1 and deeper and len(parts) - 1 + inner <= most:
            can.append(at)
    return max(can, key=lambda at: len(parts[at]), default=None)


def _label(names: Sequence[str], part: Sequence[int], depth: int) -> str:
    return ".".join(names[part[0]].split(".")[:depth])
