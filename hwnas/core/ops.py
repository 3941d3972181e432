"""Operations: the one description of a network that every latency predictor and every space reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

__all__ = ["BYTES", "KINDS", "WEIGHT_BYTES", "Op", "OpList", "Segment"]

Shape = tuple[int, ...]

# Bytes of an activation at each precision; those of an int8 network are int8 too (static quantization).
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "int8": 1, "int8-dynamic": 4, "int8-weights": 4}
WEIGHT_BYTES = BYTES | {"int8-dynamic": 1, "int8-weights": 1}

KINDS = (
    "conv",  # dense convolution, kernel > 1
    "pointwise",  # dense convolution, kernel 1
    "depthwise",  # groups == channels
    "grouped",  # any other grouped convolution
    "linear",
    "matmul",  # activation x activation, attention included
    "pool",  # average or maximum over a window
    "reduce",  # global mean or sum
    "norm",  # batch or layer normalisation; batch norm is folded away by deployment
    "activation",
    "elementwise",  # add, mul, ...
    "softmax",
    "embedding",
    "resize",
    "concat",
    "layout",  # reshape, transpose, slice: moves or relabels data
    "other",  # named in `detail`; no predictor knows it
)

# Folded into their neighbours by deployment, or done in place; the inputs of concat may be written side by side.
_IN_PLACE = {"norm", "activation", "elementwise", "softmax", "concat", "layout"}


@dataclass(frozen=True, slots=True)
class Op:
    """One operation at batch 1.

    Attributes:
        kind: one of `KINDS`.
        inputs: shapes of the activations read, without the batch dimension.
        output: shape of the activation written, without the batch dimension.
        kernel, stride: (height, width); (1, 1) where it has none.
        groups: of a convolution.
        macs: multiply-adds of convolutions, linear layers and matrix products; 0 for all else.
        params: weights, biases and affine terms.
        precision: what it computes in; one of `BYTES`.
        live: False if the output of the network does not depend on it (it still runs, unless the runtime drops it).
        detail: the framework's own name of the operation, for messages.
        reads: for each input, the position (in the same segment) of the operation that wrote it; -1 is the segment's
            own input, -2 a tensor that depends on no input. Empty: not known.
        fixed: it computes in fp32 whatever the rest of the network does (a module that `keeps_fp32` did it).
    """

    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    macs: int = 0
    params: int = 0
    precision: str = "fp32"
    live: bool = True
    detail: str = ""
    reads: tuple[int, ...] = ()
    fixed: bool = False

    @property
    def input_bytes(self) -> int:
        """Bytes of activations read."""
        return sum(map(math.prod, self.inputs)) * BYTES[self.precision]

    @property
    def output_bytes(self) -> int:
        """Bytes of activations written."""
        return math.prod(self.output) * BYTES[self.precision]

    @property
    def working_bytes(self) -> int:
        """Bytes of activations that must be held while it runs; some operations may write over what they read."""
        if self.kind in _IN_PLACE:
            return max(self.input_bytes, self.output_bytes)
        return self.input_bytes + self.output_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of parameters read."""
        return self.params * WEIGHT_BYTES[self.precision]

    def to_json(self) -> dict[str, Any]:
        """Plain values, derived byte counts included."""
        return {
            "kind": self.kind,
            "inputs": [list(shape) for shape in self.inputs],
            "output": list(self.output),
            "kernel": list(self.kernel),
            "stride": list(self.stride),
            "groups": self.groups,
            "macs": self.macs,
            "params": self.params,
            "precision": self.precision,
            "live": self.live,
            "detail": self.detail,
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "weight_bytes": self.weight_bytes,
        }


class Segment:
    """A run of operations that many networks share (a block with one setting at one input shape).

    Spaces keep and reuse segments, so that whatever is computed from one (its features) is computed once:
    `cache` holds such values, by the key of whoever computed them. Segments compare by identity.
    """

    __slots__ = ("__weakref__", "cache", "ops")

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = tuple(ops)
        self.cache: dict[object, Any] = {}

    def at(self, precision: str) -> Segment:
        """The same operations at another precision; the same object each time it is asked for."""
        found = self.cache.get(("at", precision))
        if found is None and all(op.fixed or op.precision == precision for op in self.ops):
            found = self
        if found is None:
            found = Segment([op if op.fixed else replace(op, precision=precision) for op in self.ops])
        self.cache["at", precision] = found
        return found


class OpList(Sequence[Op]):
    """A network as a flat list of operations, kept as shared segments.

    Attributes:
        segments: in the order of execution.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = tuple(segments)

    @classmethod
    def of(cls, ops: Sequence[Op]) -> OpList:
        """One segment of these operations."""
        return cls([Segment(ops)])

    @cached_property
    def _flat(self) -> tuple[Op, ...]:
        return tuple(op for segment in self.segments for op in segment.ops)

    def __getitem__(self, index: Any) -> Any:
        return self._flat[index]

    def __len__(self) -> int:
        return sum(len(segment.ops) for segment in self.segments)

    def __iter__(self) -> Iterator[Op]:
        return iter(self._flat)

    @property
    def macs(self) -> int:
        """Multiply-adds at batch 1."""
        return sum(op.macs for op in self)

    @property
    def params(self) -> int:
        """Number of parameters."""
        return sum(op.params for op in self)

    @property
    def peak_activation_bytes(self) -> int:
        """Most bytes that one operation reads and writes: a lower bound of the activation memory."""
        return max((op.working_bytes for op in self), default=0)

    def at(self, precision: str) -> OpList:
        """The same network at another precision."""
        return OpList([segment.at(precision) for segment in self.segments])
