"""From operations to numbers: one feature schema for every space, device and precision.

A feature is a sum over operations (a count, MACs, bytes), so the features of a network are the sum of those of its
segments, and those are kept in `Segment.cache`. All features are >= 0 and adding an operation lowers none of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from hwnas.core.ops import KINDS, Op, OpList, Segment

__all__ = [
    *("CLASSES", "COLUMNS", "FOLDED", "QUANTITIES", "ROLES", "SCHEMA", "Features"),
    *("class_of", "features_matrix", "features_of", "grouped", "knows_flow", "matrix", "quantity_column", "totals"),
]

FloatArray = NDArray[np.float64]
Shape = tuple[int, ...]

SCHEMA = "ops-2"
FOLDED = -1  # class of operations that deployment folds into the convolution before them

# Operation kinds, those with a window split by its size: the inner loops of a 3x3 and a 7x7 differ.
CLASSES = (
    "conv3", "conv5", "pointwise", "depthwise3", "depthwise5", "depthwise7", "grouped", "linear", "matmul", "pool",
    "reduce", "norm", "activation", "fused", "elementwise", "softmax", "embedding", "resize", "concat", "layout",
    "other",
)  # fmt: skip
_INDEX = {name: position for position, name in enumerate(CLASSES)}
# Live operations, those that do the same to a tensor that an earlier one did, and the two ways of being dead.
ROLES = ("first", "again", "unused", "constant")
QUANTITIES = ("mmacs", "mb", "weight_mb")
# Known only where `Op.reads` is: operands that come from outside the segment, from inside, or from no input; longest
# chain of operations; tensors read by several operations, and by an activation as well as something else.
FLOW = ("reads.outer", "reads.inner", "reads.constant", "depth", "tensors.several", "tensors.mixed", "strided")

COLUMNS = (
    *(f"{name}.{role}" for name in CLASSES for role in ROLES),
    *(f"{name}.{quantity}" for name in CLASSES for quantity in QUANTITIES),
    *FLOW,
)
_COLUMN = {name: position for position, name in enumerate(COLUMNS)}
_QUANTITY = len(CLASSES) * len(ROLES)
_FLOW = _QUANTITY + len(CLASSES) * len(QUANTITIES)

_PRODUCERS = {"conv", "pointwise", "depthwise", "grouped", "linear"}
_FUSED = {"relu", "hardtanh", "clamp"}
_INPUT, _CONSTANT = -1, -2  # in `Op.reads`: what the segment reads, and a tensor that no input reaches


@dataclass(frozen=True, slots=True)
class Features:
    """Features of one segment.

    Attributes:
        total: one value per column of `COLUMNS`.
        ops: per operation, its class (index into `CLASSES`, or `FOLDED`), role (index into `ROLES`) and the
            (column, value) pairs that it adds to `total`.
        rest: (column, value) pairs that belong to the segment as a whole.
    """

    total: FloatArray
    ops: tuple[tuple[int, int, tuple[tuple[int, float], ...]], ...]
    rest: tuple[tuple[int, float], ...]


@cache
def class_of(kind: str, kernel: int) -> int:
    """Index into `CLASSES` of an operation kind with this (larger) kernel side."""
    if kind == "conv":
        return _INDEX["conv3" if kernel <= 3 else "conv5"]
    if kind == "depthwise":
        return _INDEX["depthwise3" if kernel <= 3 else "depthwise5" if kernel <= 5 else "depthwise7"]
    return _INDEX[kind if kind in KINDS else "other"]


def features_of(segment: Segment, *, flow: bool) -> Features:
    """Features of a segment, computed once and kept in its cache.

    Args:
        flow: whether to look at which operation reads what; without, no operation is known to repeat another.
    """
    found = segment.cache.get((SCHEMA, flow))
    if found is None:
        found = segment.cache[SCHEMA, flow] = _compute(segment.ops, flow)
    return found  # type: ignore[no-any-return,unused-ignore]


def knows_flow(segment: Segment) -> bool:
    """Whether every operation of a segment says what it reads."""
    return all(getattr(op, "reads", ()) for op in segment.ops)


def matrix(networks: Sequence[OpList], *, flow: bool) -> FloatArray:
    """Features of networks, `n x len(COLUMNS)`."""
    zero = np.zeros(len(COLUMNS))
    rows = [sum((features_of(s, flow=flow).total for s in network.segments), zero) for network in networks]
    return np.array(rows).reshape(len(rows), len(COLUMNS))


def features_matrix(networks: Sequence[OpList]) -> tuple[FloatArray, bool]:
    """Features of networks, `n x len(COLUMNS)`, and whether data flow went into them: where all networks know it."""
    flow = all(knows_flow(segment) for segment in {s: None for network in networks for s in network.segments})
    return matrix(networks, flow=flow), flow


def quantity_column(number: int, quantity: int) -> int:
    """Column of a class (index into `CLASSES`) and a quantity (index into `QUANTITIES`)."""
    return _QUANTITY + number * len(QUANTITIES) + quantity


def totals(features: FloatArray) -> FloatArray:
    """Millions of MACs, MB moved, MB of weights and operations of networks, `n x len(COLUMNS)` -> `n x 4`."""
    return features @ _summing()


@cache
def _summing() -> FloatArray:
    found = np.zeros((len(COLUMNS), len(QUANTITIES) + 1))
    for number in range(len(CLASSES)):
        found[number * len(ROLES) : number * len(ROLES) + 2, -1] = 1.0  # live operations
        for quantity in range(len(QUANTITIES)):
            found[quantity_column(number, quantity), quantity] = 1.0
    return found


def grouped(features: FloatArray) -> FloatArray:
    """The few columns that few measurements can tell apart, `n x len(COLUMNS)` -> `n x d`.

    Per class all operations, those that are needed, and the work; and the depth. Columns that say the same as an
    earlier one are left out.
    """
    columns = []
    for number in range(len(CLASSES)):
        roles = features[:, number * len(ROLES) : (number + 1) * len(ROLES)]
        columns += [roles.sum(axis=1), roles[:, :2].sum(axis=1)]
        columns += [features[:, quantity_column(number, quantity)] for quantity in range(len(QUANTITIES))]
    columns.append(features[:, _COLUMN["depth"]])
    kept: list[FloatArray] = []
    directions: list[FloatArray] = []
    for column in columns:
        centred = column - column.mean()
        length = float(np.linalg.norm(centred))
        if length <= 1e-9 * max(float(np.abs(column).max()), 1e-12):
            continue
        if all(abs(float(centred @ other)) < 0.9999 * length for other in directions):
            kept.append(column)
            directions.append(centred / length)
    return np.column_stack(kept) if kept else np.empty((len(features), 0))


def _compute(ops: Sequence[Op], flow: bool) -> Features:
    reads = _reads(ops) if flow else [None] * len(ops)
    roles = _roles(ops, reads)
    rows: list[tuple[int, int, tuple[tuple[int, float], ...]]] = []
    for position, op in enumerate(ops):
        source = reads[position]
        before = position - 1 if source is None else source[0]
        kind = _class(ops, reads, position, before)
        rows.append((kind, roles[position], () if kind == FOLDED else _entries(op, kind, roles[position], source)))
    rest = _flow(ops, reads, rows)
    total = np.zeros(len(COLUMNS))
    for column, value in [entry for _, _, entries in rows for entry in entries] + list(rest):
        total[column] += value
    return Features(total, tuple(rows), rest)


def _flow(
    ops: Sequence[Op],
    reads: Sequence[tuple[int, ...] | None],
    rows: Sequence[tuple[int, int, tuple[tuple[int, float], ...]]],
) -> tuple[tuple[int, float], ...]:
    """Columns that belong to a segment as a whole; none where the data flow is not known."""
    depth = [0] * len(ops)
    readers: dict[int, list[str]] = {}
    for position, (op, source, (kind, role, _)) in enumerate(zip(ops, reads, rows, strict=True)):
        if source is None or ROLES[role] == "unused":
            continue
        longest = max((depth[at] for at in source if at >= 0), default=0)
        depth[position] = longest + (kind not in (FOLDED, _INDEX["fused"]))
        for at in set(source):
            if at >= 0:
                readers.setdefault(at, []).append(op.kind)
    several = sum(len(kinds) > 1 for kinds in readers.values())
    mixed = sum("activation" in kinds and set(kinds) != {"activation"} for kinds in readers.values())
    values = (("depth", max(depth, default=0)), ("tensors.several", several), ("tensors.mixed", mixed))
    return tuple((_COLUMN[name], float(value)) for name, value in values if value)


def _reads(ops: Sequence[Op]) -> list[tuple[int, ...] | None]:
    """Which operations each one reads, looking through folded ones; None where the data flow is not known."""
    found: list[tuple[int, ...] | None] = [tuple(getattr(op, "reads", ())) or None for op in ops]
    if any(at >= position for position, source in enumerate(found) for at in source or ()):
        return [None] * len(ops)
    return found


def _class(ops: Sequence[Op], reads: Sequence[tuple[int, ...] | None], position: int, before: int) -> int:
    """Class of an operation; a norm after a convolution is folded, an activation after one is computed in place."""
    op = ops[position]
    if op.kind == "norm" and before >= 0 and ops[before].kind in _PRODUCERS:
        return FOLDED
    if op.kind == "activation" and op.detail in _FUSED and before >= 0:
        producer = before
        if ops[before].kind == "norm":
            source = reads[before]
            producer = source[0] if source else before - 1
        if producer >= 0 and ops[producer].kind in _PRODUCERS:
            return _INDEX["fused"]
    return class_of(op.kind, max(op.kernel))


def _roles(ops: Sequence[Op], reads: Sequence[tuple[int, ...] | None]) -> list[int]:
    """Role of each operation (index into `ROLES`).

    Without data flow a dead operation counts as unused, and none is known to repeat another.
    """
    needed: set[int] = set()
    for position in range(len(ops) - 1, -1, -1):
        if ops[position].live or position in needed:
            needed.add(position)
            needed.update(at for at in reads[position] or () if at >= 0)
    roles: list[int] = []
    seen: dict[tuple[object, ...], int] = {}
    alias = list(range(len(ops)))
    for position, op in enumerate(ops):
        source = reads[position]
        if not op.live:
            roles.append(ROLES.index("constant" if position in needed else "unused"))
            continue
        if source is None:
            roles.append(ROLES.index("first"))
            continue
        key = (op.kind, op.detail, op.kernel, op.stride, op.output, tuple(alias[a] if a >= 0 else a for a in source))
        roles.append(ROLES.index("again" if key in seen else "first"))
        if key in seen and op.params == 0:
            alias[position] = seen[key]  # the same tensor once more
        seen.setdefault(key, position)
    return roles


def _entries(op: Op, kind: int, role: int, source: tuple[int, ...] | None) -> tuple[tuple[int, float], ...]:
    count = ((kind * len(ROLES) + role, 1.0),)
    if ROLES[role] in ("unused", "constant"):
        return count
    work = _work(kind, op.inputs, op.output, op.macs, op.params, op.precision, max(op.stride) > 1)
    if source is None or op.kind not in ("elementwise", "pool"):
        return count + work
    operands = (source.count(_INPUT), sum(at >= 0 for at in source), source.count(_CONSTANT))
    return count + work + tuple((_FLOW + at, float(number)) for at, number in enumerate(operands) if number)


@lru_cache(maxsize=100_000)
def _work(
    kind: int, inputs: tuple[Shape, ...], output: Shape, macs: int, params: int, precision: str, strided: bool
) -> tuple[tuple[int, float], ...]:
    at = _QUANTITY + kind * len(QUANTITIES)
    if kind == _INDEX["embedding"]:  # of its table, however large, it reads a row for each id
        params = min(params, math.prod(output))
    op = Op("other", inputs, output, macs=macs, params=params, precision=precision)
    entries = [(at + 1, (op.input_bytes + op.output_bytes) / 1e6)]
    if macs:
        entries.append((at, macs / 1e6))
    if params:
        entries.append((at + 2, op.weight_bytes / 1e6))
    if strided:
        entries.append((_COLUMN["strided"], 1.0))
    return tuple(entries)
