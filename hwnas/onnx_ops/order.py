"""The order of a graph's nodes, and what nodes read from outside of the graphs in their attributes."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any

__all__ = ["captured_names", "sort_nodes"]


def sort_nodes(graph: Any) -> None:
    """Put every node behind those that write what it reads, as converters sometimes do not; others keep their place.

    A node in a circle stays where it is, and is found by the walk.
    """
    written = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    needs: list[set[int]] = []
    for number, node in enumerate(graph.node):
        read = {written[name] for name in (*node.input, *captured_names(node)) if name in written}
        needs.append(read - {number})
    if all(max(before, default=-1) < number for number, before in enumerate(needs)):
        return
    readers: dict[int, list[int]] = {}
    for number, before in enumerate(needs):
        for other in before:
            readers.setdefault(other, []).append(number)
    ready = [number for number, before in enumerate(needs) if not before]
    order: list[int] = []
    while ready:
        number = heappop(ready)
        order.append(number)
        for reader in readers.get(number, ()):
            needs[reader].discard(number)
            if not needs[reader]:
                heappush(ready, reader)
    done = set(order)
    nodes = [graph.node[number] for number in (*order, *(n for n in range(len(needs)) if n not in done))]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def captured_names(proto: Any) -> Iterator[str]:
    """Names that the graphs in a node's attributes read and do not write themselves."""
    for attribute in proto.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            own = {value.name for value in (*graph.input, *graph.initializer)}
            for node in graph.node:
                yield from (name for name in (*node.input, *captured_names(node)) if name and name not in own)
                own.update(node.output)
            yield from (value.name for value in graph.output if value.name not in own)
